from collections.abc import Callable
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from svix.api.errors.validation_error import ValidationError
from svix.exceptions import HttpError, HTTPValidationError

from accounts import audit
from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from tests.conftest import sign_in_verified
from tests.webhooks.conftest import Receiver, deliver
from webhooks import contents, deliveries, endpoints, outbox, replays
from webhooks.embedded import egress
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import Unreachable
from webhooks.message_admin import MessageAdmin
from webhooks.models import EXPIRED, Attempt, Endpoint, Message, OutboxMessage

Send = Callable[..., None]

ENDPOINTS = "/admin/webhooks/endpoint/"
OUTBOX, MESSAGES, ATTEMPTS = (f"/admin/webhooks/{name}/" for name in ("outboxmessage", "message", "attempt"))


WHY = "They wrote: our server is repaired"
ASKED = {"_form_submitted": "True", "reason": WHY}


def _resend(model: type[OutboxMessage] | type[Message] = OutboxMessage) -> str:
    name = f"admin:webhooks_{model._meta.model_name}_resend"
    return reverse(name, args=[model._default_manager.get().pk])


@pytest.fixture
def row(endpoint: NewEndpoint) -> Endpoint:
    return Endpoint.objects.get(uid=endpoint.endpoint.id)


def test_staff_add_an_endpoint(back_office: Client, organization: Organization, staff: User) -> None:
    answer = back_office.post(
        f"{ENDPOINTS}add/",
        {
            "organization": organization.pk,
            "url": "https://example.com/hook",
            "description": "Billing",
            "event_types": ["job.failed"],
            "reason": WHY,
        },
    )

    assert answer.status_code == 302
    made = Endpoint.objects.get()
    assert (made.url, made.description, made.event_types) == (
        "https://example.com/hook",
        "Billing",
        ["job.failed"],
    )
    entry = AuditEntry.objects.newest_first()[0]
    assert (entry.action, entry.actor, entry.target_uid) == (audit.Action.ENDPOINT_CREATED, staff, made.uid)
    assert outbox.subscribed([organization.pk]) == {organization.pk}


def test_staff_change_an_endpoint_and_it_is_recorded(back_office: Client, row: Endpoint) -> None:
    back_office.post(
        f"{ENDPOINTS}{row.pk}/change/",
        {"url": row.url, "description": "Billing", "event_types": [], "reason": WHY},
    )

    row.refresh_from_db()
    assert (row.description, row.event_types) == ("Billing", None)
    entry = AuditEntry.objects.newest_first()[0]
    assert entry.action == audit.Action.ENDPOINT_UPDATED
    assert entry.after == {"description": "Billing", "reason": WHY}


@pytest.mark.parametrize("url", ["ftp://example.com", "nonsense", "javascript:alert(1)", "http://"])
def test_a_wrong_url_is_an_error_of_the_form(url: str, back_office: Client, row: Endpoint) -> None:
    answer = back_office.post(f"{ENDPOINTS}{row.pk}/change/", {"url": url, "event_types": []})

    assert answer.status_code == 200
    assert "Enter a valid URL" in answer.content.decode()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com:0/", egress.NOT_A_URL),
        ("http://example.com:65536/", egress.NOT_A_URL),
        ("http://[::1]:0/", egress.NOT_A_URL),
        ("https://me:secret@example.com/", egress.NO_CREDENTIALS),
    ],
)
def test_a_url_that_the_engine_would_refuse_is_an_error_of_the_form(
    url: str, reason: str, back_office: Client, row: Endpoint
) -> None:
    values = {"organization": row.organization_id, "url": url, "event_types": [], "reason": WHY}

    for path in ("add", f"{row.pk}/change"):
        answer = back_office.post(f"{ENDPOINTS}{path}/", values)

        assert answer.status_code == 200
        assert reason in answer.content.decode()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HttpError(code="not_found", detail="", status_code=404), "does not exist any more"),
        (HttpError(code="conflict", detail="Taken already", status_code=409), "Taken already"),
        (
            HTTPValidationError(
                detail=[ValidationError(loc=["body", "url"], msg="Too long", type="value_error")],
                status_code=422,
            ),
            "url: Too long",
        ),
    ],
)
def test_what_the_engine_refuses_is_said(
    error: Exception,
    reason: str,
    back_office: Client,
    row: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoints, "update", Mock(side_effect=error))
    values = {"url": row.url, "description": "New", "event_types": [], "reason": WHY}

    answer = back_office.post(f"{ENDPOINTS}{row.pk}/change/", values, follow=True)

    assert [path for path, _ in answer.redirect_chain] == [ENDPOINTS]
    assert reason in answer.content.decode()


def test_secrets_are_on_no_page(
    back_office: Client, row: Endpoint, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()

    for model in (Endpoint, OutboxMessage, Message, Attempt):
        for obj in model._default_manager.all():
            name = f"admin:webhooks_{model._meta.model_name}"
            for url in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[obj.pk])):
                page = back_office.get(url)
                assert page.status_code == 200
                assert endpoint.secret not in page.content.decode()


def test_facts_cannot_be_changed(back_office: Client, endpoint: NewEndpoint, send: Send) -> None:
    send()
    deliver()

    for path, model in ((OUTBOX, OutboxMessage), (MESSAGES, Message), (ATTEMPTS, Attempt)):
        obj = model._default_manager.get()
        assert back_office.post(f"{path}{obj.pk}/change/", {}).status_code == 403
        assert back_office.post(f"{path}{obj.pk}/delete/", {"post": "yes"}).status_code == 403
        assert back_office.get(f"{path}add/").status_code == 403


@pytest.mark.parametrize("path", [OUTBOX, MESSAGES, ATTEMPTS])
def test_lists_ask_little_and_count_nothing(
    path: str, back_office: Client, endpoint: NewEndpoint, send: Send
) -> None:
    for number in range(5):
        send(f"job-{number}")
    deliver()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        back_office.get(path)

    asked = [query["sql"] for query in queries if "webhooks_" in query["sql"]]
    assert len(asked) <= 2
    assert not any("COUNT" in sql for sql in asked)


def test_rows_are_found_by_id_and_by_organization(
    back_office: Client, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    uid = Message.objects.get().uid

    for term in (uid, organization.uid):
        assert uid in back_office.get(MESSAGES, {"q": term}).content.decode()
    assert uid not in back_office.get(MESSAGES, {"q": "msg_unknown"}).content.decode()
    assert uid not in back_office.get(MESSAGES, {"q": "org_unknown"}).content.decode()


def test_what_waits_can_be_singled_out(back_office: Client, endpoint: NewEndpoint, send: Send) -> None:
    send("a")
    deliver()
    send("b")
    handed_over, waiting = OutboxMessage.objects.order_by("id")

    page = back_office.get(OUTBOX, {"state": "waiting"}).content.decode()

    assert waiting.uid in page
    assert handed_over.uid not in page


def test_an_organization_leads_to_its_messages_and_a_message_to_what_came_of_it(
    back_office: Client, organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(503, body=b"Down for repair")
    deliver()
    written = OutboxMessage.objects.get()

    page = back_office.get(reverse("admin:accounts_organization_change", args=[organization.pk]))
    assert f"{OUTBOX}?q={organization.uid}" in page.content.decode()
    page = back_office.get(OUTBOX, {"q": organization.uid})
    assert f"{OUTBOX}{written.pk}/change/" in page.content.decode()
    page = back_office.get(f"{OUTBOX}{written.pk}/change/")

    for told in (receiver.url, "retrying", "failed, 503", "Down for repair"):
        assert told in page.content.decode()


def test_what_holds_up_a_message_is_said(back_office: Client, endpoint: NewEndpoint, send: Send) -> None:
    send()
    OutboxMessage.objects.get().postpone("The server is down.")

    page = back_office.get(OUTBOX).content.decode()

    assert "The server is down." in page
    assert "Waiting" in page


def test_an_engine_that_is_away_is_said(
    back_office: Client, endpoint: NewEndpoint, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    send()
    deliver()
    monkeypatch.setattr(
        deliveries, "get", Mock(side_effect=Unreachable("unreachable", "away", status_code=503))
    )

    page = back_office.get(f"{OUTBOX}{OutboxMessage.objects.get().pk}/change/")

    assert "The engine does not tell" in page.content.decode()


def test_staff_send_a_message_again_where_it_failed_and_it_is_recorded(
    back_office: Client, organization: Organization, send: Send, receiver: Receiver, staff: User
) -> None:
    for path in ("a", "b"):
        endpoints.create(organization=organization, url=f"{receiver.url}{path}", actor=None)
    send()
    receiver.answer(200, 500)
    deliver()
    first = Attempt.objects.get(status_code=200)

    answer = back_office.post(_resend(), ASKED)
    deliver()

    assert answer.headers["Location"]
    paths = [arrival.path for arrival in receiver.arrivals]
    assert len(paths) == 3
    assert f"{receiver.url}{paths[2].strip('/')}" != first.url
    entry = AuditEntry.objects.newest_first()[0]
    assert (entry.action, entry.actor, entry.organization) == (
        audit.Action.MESSAGE_RESENT,
        staff,
        organization,
    )


@pytest.mark.parametrize("model", [OutboxMessage, Message])
def test_what_every_endpoint_has_is_sent_to_all_again(
    model: type[OutboxMessage] | type[Message],
    back_office: Client,
    endpoint: NewEndpoint,
    send: Send,
    receiver: Receiver,
) -> None:
    send()
    deliver()

    back_office.post(_resend(model), ASKED)
    deliver()

    assert len(receiver.arrivals) == 2


def test_nothing_is_sent_to_a_disabled_endpoint(
    back_office: Client, organization: Organization, endpoint: NewEndpoint, row: Endpoint, send: Send
) -> None:
    send()
    deliver()
    row.switch(disabled=True, now=row.created_at)
    row.save()

    back_office.post(_resend(), ASKED)

    assert f"{row.url} is disabled" in back_office.get(OUTBOX).content.decode()
    assert not AuditEntry.objects.filter(action=audit.Action.MESSAGE_RESENT).exists()


def test_what_waits_cannot_be_sent_again(back_office: Client, endpoint: NewEndpoint, send: Send) -> None:
    send()

    assert back_office.post(_resend(), ASKED).status_code == 403


def test_colleagues_without_the_permission_cannot_send_again(
    client: Client, endpoint: NewEndpoint, send: Send, staff: User
) -> None:
    send()
    deliver()
    staff.is_superuser = False
    staff.save()
    staff.user_permissions.add(Permission.objects.get(codename="view_outboxmessage"))
    sign_in_verified(client, staff)

    assert client.get(f"{OUTBOX}{OutboxMessage.objects.get().pk}/change/").status_code == 200
    assert client.post(_resend(), ASKED).status_code == 403


@pytest.mark.parametrize("model", [OutboxMessage, Message])
def test_what_went_to_the_url_of_a_job_is_sent_there_again(
    model: type[OutboxMessage] | type[Message],
    back_office: Client,
    send: Send,
    receiver: Receiver,
    staff: User,
) -> None:
    send(url=f"{receiver.url}mine")
    deliver()

    back_office.post(_resend(model), ASKED)
    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/mine", "/mine"]
    entry = AuditEntry.objects.newest_first()[0]
    assert (entry.action, entry.actor) == (audit.Action.MESSAGE_RESENT, staff)


def test_what_went_to_the_url_of_a_job_and_is_erased_is_not_sent_again(
    back_office: Client, organization: Organization, send: Send, receiver: Receiver
) -> None:
    send(url=receiver.url)
    deliver()
    contents.expunge(organization.pk, before=timezone.now())

    back_office.post(_resend(), ASKED)
    deliver()

    assert "Its content has been erased" in back_office.get(OUTBOX).content.decode()
    assert len(receiver.arrivals) == 1


def test_the_health_of_endpoints_is_listed(back_office: Client, row: Endpoint) -> None:
    Endpoint.objects.update(failing_since=row.created_at)

    assert row.url in back_office.get(ENDPOINTS, {"health": "failing"}).content.decode()
    assert row.url not in back_office.get(ENDPOINTS, {"health": "disabled"}).content.decode()


def test_why_an_endpoint_is_disabled_is_on_its_page(back_office: Client, row: Endpoint) -> None:
    row.switch(disabled=True, now=row.created_at, reason="It failed for five days.")
    row.save()

    assert "It failed for five days." in back_office.get(f"{ENDPOINTS}{row.pk}/change/").content.decode()
    assert row.url in back_office.get(ENDPOINTS, {"health": "disabled"}).content.decode()


def test_a_message_of_the_engine_is_found_by_what_the_outbox_calls_it(
    back_office: Client, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    message, written = Message.objects.get(), OutboxMessage.objects.get()

    assert message.uid in back_office.get(MESSAGES, {"q": written.uid}).content.decode()
    assert message.uid not in back_office.get(MESSAGES, {"q": "evt_unknown"}).content.decode()
    page = back_office.get(f"{MESSAGES}{message.pk}/change/").content.decode()
    assert f"{OUTBOX}{written.pk}/change/" in page
    written.delete()
    assert message.uid in back_office.get(MESSAGES, {"q": written.uid}).content.decode()


def test_staff_see_how_far_a_replay_is(
    back_office: Client, organization: Organization, endpoint: NewEndpoint, owner: User
) -> None:
    now = timezone.now()
    replay = replays.start(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        since=now - timedelta(days=1),
        until=now,
        actor=Actor(owner),
    )

    listed = back_office.get(reverse("admin:webhooks_replay_changelist"), {"q": organization.uid})
    page = back_office.get(reverse("admin:webhooks_replay_change", args=[replay.pk]))

    assert endpoint.endpoint.id in listed.content.decode()
    assert "Counting" in page.content.decode()


def test_the_messages_of_an_endpoint_are_listed_page_by_page_there_and_back(
    back_office: Client,
    endpoint: NewEndpoint,
    send: Send,
    organization: Organization,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoints.create(organization=organization, url=f"{receiver.url}other", actor=None)
    for number in range(5):
        send(f"job-{number}")
    deliver()
    monkeypatch.setattr(MessageAdmin, "list_per_page", 2)
    expected = list(Message.objects.order_by("-pk"))

    pages = [back_office.get(MESSAGES, {"q": endpoint.endpoint.id}).context["cl"]]
    while pages[-1].next_link:
        pages.append(back_office.get(f"{MESSAGES}{pages[-1].next_link}").context["cl"])
    back = back_office.get(f"{MESSAGES}{pages[-1].previous_link}").context["cl"]
    taken = b"".join(back_office.get(f"{MESSAGES}csv/", {"q": endpoint.endpoint.id}))

    assert [row for page in pages for row in page.result_list] == expected
    assert list(back.result_list) == expected[2:4]
    assert [taken.count(message.uid.encode()) for message in expected] == [1] * 5


def test_the_outbox_leads_to_the_content_of_what_it_has_handed_over(
    back_office: Client, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    message, taken = OutboxMessage.objects.get(), Message.objects.get()
    OutboxMessage.objects.update(payload=EXPIRED)
    url = f"{OUTBOX}{message.pk}/change/"

    kept = back_office.get(url).content.decode()
    contents.expunge(organization.pk, before=timezone.now())
    erased = back_office.get(url).content.decode()

    for page in (kept, erased):
        assert f"{MESSAGES}{taken.pk}/change/" in page
        assert "expired" not in page
    assert "its content stands there" in kept
    assert "it has been erased there since" in erased


def test_the_outbox_says_that_a_svix_server_has_the_content(
    back_office: Client, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    message = OutboxMessage.objects.get()
    OutboxMessage.objects.update(payload=EXPIRED, handed_over_at=timezone.now())

    page = back_office.get(f"{OUTBOX}{message.pk}/change/").content.decode()

    assert f"the Svix server has it, by the event id {message.uid}" in page
