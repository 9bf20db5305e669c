"""The pages of endpoints: what they show, what they refuse, and what they change."""

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from unittest.mock import Mock

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from svix.webhooks import Webhook

from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Organization, User
from tests.webhooks.conftest import Receiver, deliver
from webhooks import configure_link, endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix
from webhooks.models import Endpoint
from webhooks.verification_code import snippets

Page = Callable[..., str]


@pytest.fixture
def page(organization: Organization) -> Page:
    """The address of a page, by its name."""

    def address(name: str, *args: str) -> str:
        return reverse(f"webhooks:{name}", args=[organization.uid, *args])

    return address


@pytest.fixture
def browser(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


@pytest.fixture
def without_svix() -> Iterator[None]:
    with override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token"):
        yield


def filled(**changes: Any) -> dict[str, Any]:
    return {"url": "https://example.com/hook", "which": "all"} | changes


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def entries(action: Action) -> int:
    return AuditEntry.objects.filter(action=action).count()


def test_an_empty_list_teaches(browser: Client, page: Page) -> None:
    text = text_of(browser.get(page("endpoints")))

    assert "No endpoint yet" in text
    assert "/api/v1/webhooks/endpoints" in text
    assert "cloudflared" in text


def test_an_endpoint_is_added_as_typed(browser: Client, page: Page, organization: Organization) -> None:
    response = browser.post(
        page("create_endpoint"),
        filled(
            description="Production",
            which="chosen",
            event_types=["job.completed", "job.failed"],
            channels="invoices, acme",
            headers="X-Source: billing\nAuthorization: Bearer abc:def",
            throttle_rate="50",
        ),
    )

    made = Endpoint.objects.get(organization=organization)
    assert response["Location"] == page("endpoint", made.uid)
    assert (made.url, made.description) == ("https://example.com/hook", "Production")
    assert (made.event_types, made.channels) == (["job.completed", "job.failed"], ["invoices", "acme"])
    assert made.headers == {"X-Source": "billing", "Authorization": "Bearer abc:def"}
    assert made.throttle_rate == 50
    assert entries(Action.ENDPOINT_CREATED) == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"url": ""}, "Say where the messages are to go."),
        ({"url": "ftp://example.com"}, "http"),
        ({"url": "https://me:secret@example.com"}, "password"),
        ({"url": "https://exa\0mple.com"}, "Null characters"),
        ({"url": "https://10.0.0.1/"}, "private networks"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "private networks"),
        ({"url": "https://example.com/" + "a" * 2000}, "at most"),
        ({"description": "one\u202etwo"}, "cannot be seen"),
        ({"which": "chosen"}, "Choose at least one, or all."),
        ({"which": "chosen", "event_types": ["no.such"]}, "no.such"),
        ({"channels": "a b!"}, "a channel has letters"),
        ({"channels": " ".join(map(str, range(11)))}, "At most 10 channels."),
        ({"headers": "no colon"}, "is no header"),
        ({"headers": "A: 1\na: 2"}, "there twice"),
        ({"headers": "Authorization: …"}, "no value yet"),
        ({"headers": "Content-Type: text/plain"}, "Content-Type"),
        ({"throttle_rate": "0"}, "greater than or equal to 1"),
        ({"throttle_rate": "9" * 30}, "less than or equal to"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_made(
    changes: dict[str, Any], complaint: str, browser: Client, page: Page
) -> None:
    response = browser.post(page("create_endpoint"), filled(**changes))

    assert response.status_code == 400
    assert complaint in text_of(response)
    assert not Endpoint.objects.exists()


def test_the_list_tells_how_endpoints_fare(
    browser: Client,
    page: Page,
    endpoint: NewEndpoint,
    receiver: Receiver,
    send: Callable[..., None],
) -> None:
    receiver.answer(500, body=b"down")
    send("job-1")
    send("job-2")
    deliver()

    text = text_of(browser.get(page("endpoints")))

    assert "50&nbsp;%" in text
    assert "of 2 attempts" in text
    assert "answered 500" in text


def test_a_page_asks_the_database_as_often_for_one_quiet_endpoint_as_its_bound_allows(
    browser: Client,
    page: Page,
    organization: Organization,
    django_assert_max_num_queries: Callable[[int], Any],
) -> None:
    for number in range(25):
        endpoints.create(organization=organization, url=f"https://example.com/{number}", actor=None)

    with django_assert_max_num_queries(100):
        text = text_of(browser.get(page("endpoints")))

    assert text.count('<th scope="row"') == 20
    older = re.search(r'href="(\?older_than=[^"]+)"', text)
    assert older
    assert text_of(browser.get(page("endpoints") + older[1])).count('<th scope="row"') == 5


def test_a_place_in_the_list_that_is_none_is_refused_kindly(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    response = browser.get(page("endpoints") + "?older_than=../x?y=1")

    assert response.status_code == 400
    assert "That cannot be done" in text_of(response)


def test_an_edit_changes_what_was_typed_and_keeps_hidden_headers(
    browser: Client, page: Page, organization: Organization
) -> None:
    made = endpoints.create(
        organization=organization,
        url="https://example.com/hook",
        channels=["acme"],
        throttle_rate=5,
        headers={"Authorization": "Bearer abc", "X-Old": "1", "X-Kept": "2"},
        actor=None,
    )
    address = page("edit_endpoint", made.endpoint.id)
    shown = text_of(browser.get(address))

    browser.post(
        address,
        filled(description="new", headers="authorization: …\nX-Kept: 2\nX-New: 3"),
    )

    assert "Bearer abc" not in shown
    changed = Endpoint.objects.get(uid=made.endpoint.id)
    assert (changed.description, changed.channels, changed.throttle_rate) == ("new", None, None)
    assert changed.headers == {"Authorization": "Bearer abc", "X-Kept": "2", "X-New": "3"}
    after = AuditEntry.objects.newest_first()[0].after
    assert after and (after["headers_set"], after["headers_removed"]) == (["X-New"], ["X-Old"])


def test_an_edit_keeps_event_types_that_are_not_in_the_catalogue_any_more(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    Endpoint.objects.update(event_types=["job.completed", "job.retired"])

    text = text_of(browser.get(page("edit_endpoint", endpoint.endpoint.id)))

    assert re.search(r'value="job.retired"[^>]*checked', text)


def test_pausing_and_resuming_are_recorded_and_told(
    browser: Client, page: Page, endpoint: NewEndpoint, owner: User
) -> None:
    browser.post(page("pause_endpoint", endpoint.endpoint.id))
    paused = text_of(browser.get(page("endpoint", endpoint.endpoint.id)))
    browser.post(page("resume_endpoint", endpoint.endpoint.id))
    resumed = text_of(browser.get(page("endpoint", endpoint.endpoint.id)))

    assert f"by {owner.display_name}" in paused
    assert ">Active<" in resumed
    assert entries(Action.ENDPOINT_UPDATED) == 2


def test_what_the_engine_turned_off_says_why(
    browser: Client, page: Page, endpoint: NewEndpoint, receiver: Receiver, send: Callable[..., None]
) -> None:
    receiver.answer(410)
    send()
    deliver()

    text = text_of(browser.get(page("endpoint", endpoint.endpoint.id)))

    assert "Nothing is sent to this endpoint." in text
    assert "wants no more messages" in text


def test_deleting_asks_first(browser: Client, page: Page, endpoint: NewEndpoint) -> None:
    address = page("delete_endpoint", endpoint.endpoint.id)

    asked = text_of(browser.get(address))
    there_is_one = Endpoint.objects.existing().exists()
    browser.post(address)

    assert "Delete the endpoint?" in asked
    assert there_is_one
    assert not Endpoint.objects.existing().exists()
    assert browser.get(page("endpoint", endpoint.endpoint.id)).status_code == 404


def test_the_secret_is_shown_on_demand_recorded_and_kept_nowhere(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    before = text_of(browser.get(page("endpoint", endpoint.endpoint.id)))

    response = browser.post(page("endpoint_secret", endpoint.endpoint.id))

    assert endpoint.secret not in before
    assert text_of(response).count(endpoint.secret) == 1 + len(snippets())
    assert "no-store" in response["Cache-Control"]
    assert entries(Action.ENDPOINT_SECRET_REVEALED) == 1


def test_a_member_sees_the_page_but_not_its_secret(
    client: Client, page: Page, member: User, endpoint: NewEndpoint
) -> None:
    client.force_login(member)

    shown = client.get(page("endpoint", endpoint.endpoint.id))
    refused = client.post(page("endpoint_secret", endpoint.endpoint.id))

    assert (shown.status_code, refused.status_code) == (200, 403)
    assert "Reveal secret" not in text_of(shown).replace("“Reveal secret”", "")


def test_rotating_keeps_the_old_secret_for_the_chosen_while(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    browser.post(page("rotate_endpoint_secret", endpoint.endpoint.id), {"grace": "3600"})

    row = Endpoint.objects.get(uid=endpoint.endpoint.id)
    assert row.secret != endpoint.secret
    assert len(row.old_secrets) == 1
    entry = AuditEntry.objects.newest_first()[0]
    assert (entry.action, entry.after) == (Action.ENDPOINT_SECRET_ROTATED, {"grace_seconds": 3600})


def test_the_page_tells_until_when_the_old_secret_signs(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    address = page("endpoint", endpoint.endpoint.id)
    before = text_of(browser.get(address))
    browser.post(page("rotate_endpoint_secret", endpoint.endpoint.id), {"grace": "3600"})
    [end] = endpoints.old_secrets_end(
        organization=Organization.objects.get(), endpoint_id=endpoint.endpoint.id
    )

    after = text_of(browser.get(address))

    assert "old secret" not in before
    assert "The old secret still signs too, until" in after
    assert end.strftime('datetime="%Y-%m-%dT%H:%M:') in after


def test_of_several_old_secrets_the_page_tells_the_last_end(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    for grace in ("86400", "3600"):
        browser.post(page("rotate_endpoint_secret", endpoint.endpoint.id), {"grace": grace})
    day, hour = (datetime.fromisoformat(old["expires_at"]) for old in Endpoint.objects.get().old_secrets)

    shown = browser.get(page("endpoint", endpoint.endpoint.id))

    assert shown.context["old_secrets_end"] == [hour, day]
    assert "2 old secrets still sign too, the last until" in text_of(shown)


def test_an_old_secret_that_stopped_is_not_told_of(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    browser.post(page("rotate_endpoint_secret", endpoint.endpoint.id), {"grace": "0"})

    assert "old secret" not in text_of(browser.get(page("endpoint", endpoint.endpoint.id)))


@override_settings(WEBHOOK_ALLOWED_NETWORKS=["10.20.0.0/16", "::1/128"])
def test_networks_that_are_allowed_besides_are_named(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    adding = text_of(browser.get(page("create_endpoint")))
    changing = text_of(browser.get(page("edit_endpoint", endpoint.endpoint.id)))
    testing = text_of(browser.get(page("endpoint", endpoint.endpoint.id)))

    for form in (adding, changing):
        assert "or in one of these networks, which are allowed besides: 10.20.0.0/16, ::1/128." in form
    assert "webhooks reach <code>10.20.0.0/16</code>, <code>::1/128</code> here" in testing


@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_without_such_networks_the_public_internet_is_all(browser: Client, page: Page) -> None:
    adding = text_of(browser.get(page("create_endpoint")))
    testing = text_of(browser.get(page("endpoints")))

    assert "It has to be on the public internet, better by https. " in adding.replace("<", " <")
    assert "Webhooks reach public addresses only." in testing


@pytest.mark.parametrize("grace", ["", "-1", "999999999", "soon"])
def test_another_grace_is_not_offered(grace: str, browser: Client, page: Page, endpoint: NewEndpoint) -> None:
    response = browser.post(page("rotate_endpoint_secret", endpoint.endpoint.id), {"grace": grace})

    assert response.status_code == 400
    assert Endpoint.objects.get(uid=endpoint.endpoint.id).secret == endpoint.secret


def test_the_rotation_that_is_one_too_many_is_refused_in_the_form(
    browser: Client, page: Page, endpoint: NewEndpoint
) -> None:
    address = page("rotate_endpoint_secret", endpoint.endpoint.id)
    for _ in range(10):
        browser.post(address, {"grace": "3600"})

    response = browser.post(address, {"grace": "3600"})

    assert response.status_code == 400
    assert "Too many old secrets" in text_of(response)


@pytest.mark.parametrize("name", ["endpoints", "endpoint", "edit_endpoint", "delete_endpoint"])
def test_without_svix_pages_say_so(
    name: str, browser: Client, page: Page, without_svix: None, caplog: pytest.LogCaptureFixture
) -> None:
    response = browser.get(page(name, *([] if name == "endpoints" else ["ep_1"])))

    assert response.status_code == 503
    assert "Webhooks cannot be reached right now" in text_of(response)
    assert "Svix answered 503" in caplog.text


def test_without_svix_what_was_typed_stays(browser: Client, page: Page, without_svix: None) -> None:
    response = browser.post(page("create_endpoint"), filled(description="Production"))

    assert response.status_code == 400
    assert "does not answer as it should" in text_of(response)
    assert 'value="Production"' in text_of(response)


def test_the_link_of_a_program_leads_to_its_organization(
    browser: Client, page: Page, organization: Organization
) -> None:
    response = browser.get(configure_link.link(organization))

    assert response["Location"] == page("endpoints")


def test_the_link_of_a_program_ends_after_ten_minutes(
    browser: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = configure_link.link(organization)
    later = timezone.now().timestamp() + 601
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)

    assert configure_link.organization_uid(link.rstrip("/").rpartition("/")[2]) is None


def test_a_link_that_is_none_says_it_has_expired(browser: Client) -> None:
    response = browser.get(reverse("webhooks:configure", args=["org_x.1.2"]))

    assert response.status_code == 410
    assert "This link has expired" in text_of(response)


def test_the_curl_code_signs_as_messages_are_signed(
    receiver: Receiver, endpoint: NewEndpoint, organization: Organization
) -> None:
    [code] = [snippet.code for snippet in snippets(endpoint.secret) if snippet.name == "curl"]
    code = code.replace("http://localhost:3000/webhooks", receiver.url)

    subprocess.run(["bash", "-c", code], check=True, capture_output=True, timeout=30)

    [arrival] = receiver.arrivals
    Webhook(endpoint.secret).verify(arrival.body, arrival.headers)


def test_the_python_code_is_python() -> None:
    [code] = [snippet.code for snippet in snippets("whsec_abc") if snippet.name == "python"]

    compile(code, "receiver.py", "exec")

    assert 'SECRET = "whsec_abc"' in code


def test_foreign_endpoints_are_not_there(
    browser: Client, page: Page, other_organization: Organization, outsider: User
) -> None:
    foreign = endpoints.create(
        organization=other_organization, url="https://example.com", actor=Actor(outsider)
    )

    assert browser.get(page("endpoint", foreign.endpoint.id)).status_code == 404
    assert browser.post(page("endpoint_secret", foreign.endpoint.id)).status_code == 404
    assert get_svix().endpoint.get(other_organization.uid, foreign.endpoint.id)


def test_hosted_svix_has_a_portal_to_open(
    browser: Client, page: Page, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = Mock()
    hosted.authentication.app_portal_access.return_value.url = "https://app.svix.com/login#key=abc"
    monkeypatch.setattr(endpoints, "get_svix", lambda: hosted)

    with override_settings(SVIX_SERVER_URL="https://api.eu.svix.com", SVIX_AUTH_TOKEN="token"):
        response = browser.post(page("portal"))

    assert response["Location"] == "https://app.svix.com/login#key=abc"
    assert hosted.authentication.app_portal_access.call_args.args[0] == organization.uid
    assert entries(Action.ENDPOINT_PORTAL_OPENED) == 1


@pytest.mark.parametrize("server", ["", "http://svix.internal:8071", "https://svix.com.example.com"])
def test_no_other_server_has_one(server: str, browser: Client, page: Page) -> None:
    with override_settings(SVIX_SERVER_URL=server, SVIX_AUTH_TOKEN="token"):
        response = browser.post(page("portal"))

    assert response["Location"] == page("endpoints")
    assert entries(Action.ENDPOINT_PORTAL_OPENED) == 0


def test_the_list_tells_when_what_failed_is_tried_again(
    browser: Client, page: Page, endpoint: NewEndpoint, receiver: Receiver, send: Callable[..., None]
) -> None:
    receiver.answer(500)
    send()
    deliver()

    assert "Next retry" in text_of(browser.get(page("endpoints")))
