"""What members see of messages and attempts, and what they can have sent again."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client, override_settings
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries
from svix.models import EndpointPatch

from accounts.models import AuditEntry, Organization, User
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints, outbox, replays
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix
from webhooks.models import EXPIRED, Message, OutboxMessage

Send = Callable[..., None]


@pytest.fixture
def pages(client: Client, admin: User, organization: Organization) -> str:
    """Sign an admin in; the address that the pages lie under."""
    client.force_login(admin)
    return f"/o/{organization.uid}/webhooks"


def _the_message() -> Message:
    return Message.objects.latest("id")


def _disable(organization: Organization, endpoint: NewEndpoint, *, disabled: bool) -> None:
    changes = EndpointPatch(disabled=disabled)
    endpoints.update(organization=organization, endpoint_id=endpoint.endpoint.id, changes=changes, actor=None)


# ── The list ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_messages_are_listed_with_what_became_of_them(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    send()
    deliver()

    page = client.get(f"{pages}/messages/")

    assert page.status_code == 200
    assert [line.state for line in page.context["lines"]] == ["delivered"]
    assert _the_message().uid in page.text


def test_an_organization_without_endpoints_learns_when_messages_are_written(
    client: Client, pages: str
) -> None:
    page = client.get(f"{pages}/messages/")

    assert "No messages yet" in page.text


def test_queries_do_not_grow_with_the_messages(
    client: Client,
    pages: str,
    endpoint: NewEndpoint,
    send: Send,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        send(f"job-{number}")
    deliver()

    with django_assert_max_num_queries(30):
        page = client.get(f"{pages}/messages/")

    assert len(page.context["lines"]) == 20


def test_of_several_endpoints_the_worst_is_told(
    client: Client,
    pages: str,
    organization: Organization,
    endpoint: NewEndpoint,
    receiver: Receiver,
    send: Send,
) -> None:
    endpoints.create(organization=organization, url=receiver.url + "other", actor=None)
    receiver.answer(500)
    send()
    deliver()

    page = client.get(f"{pages}/messages/")

    (line,) = page.context["lines"]
    assert (line.state, line.in_state, line.receivers) == ("retrying", 1, 2)


def test_messages_of_a_type_and_of_an_endpoint_with_a_status_are_found(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    receiver.answer(500)
    send("job-1")
    deliver()
    send("job-2")
    deliver()

    failing = client.get(f"{pages}/messages/?state=retrying&endpoint={endpoint.endpoint.id}")
    delivered = client.get(f"{pages}/messages/?state=delivered&type=job.completed")
    others = client.get(f"{pages}/messages/?type=job.failed")

    assert [line.state for line in failing.context["lines"]] == ["retrying"]
    assert [line.state for line in delivered.context["lines"]] == ["delivered"]
    assert others.context["lines"] == []
    assert "No message matches" in others.text


def test_a_status_asks_for_an_endpoint_where_there_are_several(
    client: Client, pages: str, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    other = endpoints.create(organization=organization, url="https://example.com/hook", actor=None)
    send()
    deliver()

    page = client.get(f"{pages}/messages/?state=failed&type=job.completed")

    assert page.status_code == 200
    assert "Each endpoint has a status of its own: choose one." in page.text
    for each in (endpoint, other):
        assert f'href="?state=failed&amp;type=job.completed&amp;endpoint={each.endpoint.id}"' in page.text
    assert len(page.context["lines"]) == 1  # of whatever status


def test_a_status_chooses_the_only_endpoint(client: Client, pages: str, endpoint: NewEndpoint) -> None:
    page = client.get(f"{pages}/messages/?state=failed&endpoint=")

    assert page.status_code == 200
    assert f'<option value="{endpoint.endpoint.id}" selected>' in page.text
    assert "choose one" not in page.text
    assert page.context["lines"] == []


def test_a_status_without_any_endpoint_is_left_out_of_account(client: Client, pages: str) -> None:
    page = client.get(f"{pages}/messages/?state=failed")

    assert page.status_code == 200
    assert "There is no endpoint to have a status at" in page.text


def test_the_message_about_a_job_is_found_by_the_jobs_id(
    client: Client, pages: str, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send("job-7", uid=outbox.uid_of_job(organization.pk, "job-7"))
    send("job-8")
    deliver()

    page = client.get(f"{pages}/messages/?name=job-7")

    (line,) = page.context["lines"]
    assert line.message.event_id == outbox.uid_of_job(organization.pk, "job-7")


def test_a_message_that_waits_is_found_as_well(
    client: Client, pages: str, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send("job-7", uid=outbox.uid_of_job(organization.pk, "job-7"))

    page = client.get(f"{pages}/messages/?name=job-7")

    assert "This message still waits" in page.text


def test_days_narrow_the_list(client: Client, pages: str, endpoint: NewEndpoint, send: Send) -> None:
    send("job-1")
    deliver()
    Message.objects.update(created_at=timezone.now() - timedelta(days=9))
    send("job-2")
    deliver()
    week_ago = (timezone.now() - timedelta(days=7)).date()

    since = client.get(f"{pages}/messages/?since={week_ago}")
    until = client.get(f"{pages}/messages/?until={week_ago}")

    assert [line.message.id for line in since.context["lines"]] == [_the_message().uid]
    assert [line.message.id for line in until.context["lines"]] == [Message.objects.earliest("id").uid]


def test_pages_lead_to_older_messages_and_back(
    client: Client, pages: str, endpoint: NewEndpoint, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.views.messages.PAGE", 2)
    for number in range(5):
        send(f"job-{number}")
    deliver()
    newest_first = list(Message.objects.order_by("-created_at", "-id").values_list("uid", flat=True))
    seen = []

    page = client.get(f"{pages}/messages/")
    while True:
        seen += [line.message.id for line in page.context["lines"]]
        if not page.context["older"]:
            break
        page = client.get(f"{pages}/messages/{page.context['older']}")
    page = client.get(f"{pages}/messages/{page.context['newer']}")

    assert seen == newest_first
    assert [line.message.id for line in page.context["lines"]] == newest_first[2:4]


@pytest.mark.parametrize(
    "query",
    [
        "state=nothing",
        "endpoint=ep_unknown",
        "type=%00",
        "since=yesterday",
        "since=2026-03-04&until=2026-03-01",
        "name=%00",
        f"name={'x' * 300}",
        "place=../x?y=1",
        "place=%00",
        f"place={'x' * 300}",
    ],
)
def test_what_cannot_be_looked_for_is_refused(
    client: Client, pages: str, endpoint: NewEndpoint, query: str
) -> None:
    assert client.get(f"{pages}/messages/?{query}").status_code == 400


@pytest.mark.parametrize("query", ["until=9999-12-31", "since=0001-01-01", "place=msg_unknown", "name=../x"])
def test_what_is_merely_not_there_is_an_empty_list(
    client: Client, pages: str, endpoint: NewEndpoint, query: str
) -> None:
    assert client.get(f"{pages}/messages/?{query}").status_code in (200, 400)


def test_the_list_refreshes_itself_where_that_is_asked_for(
    client: Client, pages: str, endpoint: NewEndpoint
) -> None:
    quiet = client.get(f"{pages}/messages/")
    live = client.get(f"{pages}/messages/?live=on")

    assert "every 5s" not in quiet.text
    assert "every 5s" in live.text


# ── A message ────────────────────────────────────────────────────────────────────────────────────────────────


def test_request_and_response_of_an_attempt_stand_side_by_side(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    receiver.answer(500, body=b'{"error": "out of order"}')
    send("job-1")
    deliver()
    let_time_pass()
    deliver()

    page = client.get(f"{pages}/messages/{_the_message().uid}/")
    first = page.context["tries"][1].attempt
    chosen = client.get(f"{pages}/messages/{_the_message().uid}/?attempt={first.id}").context["chosen"]

    assert [each.attempt.response_status_code for each in page.context["tries"]] == [200, 500]
    assert json.loads(page.context["payload"])["data"] == {"job_id": "job-1"}
    assert f"svix-id: {_the_message().uid}" in chosen.request
    assert chosen.response == '{\n  "error": "out of order"\n}'
    assert page.context["chosen"].attempt.response_status_code == 200


def test_the_value_of_a_secret_header_is_not_shown(
    client: Client, pages: str, organization: Organization, receiver: Receiver, send: Send
) -> None:
    endpoints.create(
        organization=organization,
        url=receiver.url,
        headers={"authorization": "Bearer hush", "x-stage": "test"},
        actor=None,
    )
    send()
    deliver()

    page = client.get(f"{pages}/messages/{_the_message().uid}/")

    assert "x-stage: test" in page.text
    assert "authorization: •••" in page.text
    assert "hush" not in page.text


def test_a_message_is_found_by_its_event_id_and_tells_why_it_waits(
    client: Client, pages: str, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    written = OutboxMessage.objects.get()
    written.postpone("The server is away.")

    waiting = client.get(f"{pages}/messages/{written.uid}/")
    let_time_pass()
    deliver()
    handed_over = client.get(f"{pages}/messages/{written.uid}/")

    assert "It waits to be sent" in waiting.text
    assert "The server is away." in waiting.text
    assert [each.state for each in handed_over.context["destinations"]] == ["delivered"]


def test_erased_content_says_so_and_cannot_be_sent_again(
    client: Client, pages: str, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    get_svix().message.expunge_content(organization.uid, _the_message().uid)
    address = f"{pages}/messages/{_the_message().uid}/"

    page = client.get(address)
    answer = client.post(f"{address}resend/", {"endpoint": endpoint.endpoint.id}, follow=True)

    assert "has been erased" in page.text
    assert "Send again" not in page.text
    assert "cannot be sent again" in answer.text
    assert _the_message().payload == EXPIRED


def test_what_a_job_had_sent_to_its_own_url_is_shown_with_its_attempts(
    client: Client, pages: str, receiver: Receiver, send: Send
) -> None:
    receiver.answer(404)
    send(url=receiver.url)
    deliver()

    listed = client.get(f"{pages}/messages/")
    page = client.get(f"{pages}/messages/{OutboxMessage.objects.get().uid}/")

    assert [line.receivers for line in listed.context["lines"]] == [1]
    assert "the URL that its job named" in page.text
    assert [each.attempt.response_status_code for each in page.context["tries"]] == [404]


@pytest.mark.parametrize("name", ["msg_unknown", "evt_unknown", "x", "-", "9" * 200])
def test_an_unknown_message_is_not_found(
    client: Client, pages: str, endpoint: NewEndpoint, name: str
) -> None:
    assert client.get(f"{pages}/messages/{name}/").status_code == 404


@override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token")
def test_a_server_that_is_away_is_told_as_that(client: Client, pages: str) -> None:
    page = client.get(f"{pages}/messages/")

    assert page.status_code == 503


# ── Sending again ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_sent_again_and_that_is_recorded(
    client: Client, pages: str, admin: User, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    send()
    deliver()
    address = f"{pages}/messages/{_the_message().uid}/"

    client.post(f"{address}resend/", {"endpoint": endpoint.endpoint.id})
    deliver()

    assert len(receiver.arrivals) == 2
    assert [each.is_manual for each in client.get(address).context["tries"]] == [True, False]
    entry = AuditEntry.objects.get(action="message.resent")
    assert (entry.actor, entry.target_uid) == (admin, _the_message().uid)


@pytest.mark.parametrize("name", ["ep_unknown", "../x", "\0"])
def test_sending_again_to_an_unknown_endpoint_is_not_found(
    client: Client, pages: str, endpoint: NewEndpoint, send: Send, name: str
) -> None:
    send()
    deliver()

    answer = client.post(f"{pages}/messages/{_the_message().uid}/resend/", {"endpoint": name})

    assert answer.status_code == 404


def test_a_disabled_endpoint_is_sent_nothing(
    client: Client,
    pages: str,
    organization: Organization,
    endpoint: NewEndpoint,
    receiver: Receiver,
    send: Send,
) -> None:
    send()
    deliver()
    _disable(organization, endpoint, disabled=True)
    of_endpoint = f"{pages}/endpoints/{endpoint.endpoint.id}"
    times = {"since": "2026-03-01T00:00", "until": "2026-03-02T00:00"}

    again = client.post(
        f"{pages}/messages/{_the_message().uid}/resend/", {"endpoint": endpoint.endpoint.id}, follow=True
    )
    recovered = client.post(f"{of_endpoint}/recover/", {"span": "24"})
    replayed = client.post(f"{of_endpoint}/replay/", times)
    tested = client.post(f"{of_endpoint}/test/", {"type": "job.failed", "payload": "{}"})
    deliver()

    assert "resume it, then" in again.text
    assert [page.status_code for page in (recovered, replayed, tested)] == [400, 400, 400]
    assert len(receiver.arrivals) == 1
    assert not AuditEntry.objects.filter(action__in=["message.resent", "endpoint.tested"]).exists()


def test_what_failed_is_recovered_and_that_is_recorded(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    receiver.answer(500)
    send("job-1")
    deliver()
    send("job-2")
    deliver()
    of_endpoint = f"{pages}/endpoints/{endpoint.endpoint.id}"

    answer = client.post(f"{of_endpoint}/recover/", {"span": "1"})
    deliver()

    assert answer.status_code == 302
    assert [json.loads(arrival.body)["data"]["job_id"] for arrival in receiver.arrivals] == [
        "job-1",
        "job-2",
        "job-1",
    ]
    assert AuditEntry.objects.get(action="endpoint.recovered").target_uid == endpoint.endpoint.id


def test_what_was_missed_while_disabled_is_replayed_and_the_page_tells_how_far_it_is(
    client: Client, pages: str, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    _disable(organization, endpoint, disabled=True)
    for job_id in ("first", "second"):
        send(job_id)
    deliver()
    _disable(organization, endpoint, disabled=False)
    address = f"{pages}/endpoints/{endpoint.endpoint.id}/replay/"
    now = timezone.now()
    times = {
        "since": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}",
        "until": f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M}",
    }

    begun = client.post(address, times, follow=True)
    twice = client.post(address, times)
    of_endpoint = client.get(f"{pages}/endpoints/{endpoint.endpoint.id}/")
    replays.go_on()
    ended = client.get(address)

    assert begun.status_code == 200
    assert "Counting" in begun.text
    assert 'hx-trigger="every 2s"' in begun.text
    assert "by Adam" in begun.text
    assert twice.status_code == 400
    assert "being sent already" in twice.text
    assert "What it missed is being sent" in of_endpoint.text
    assert "2 of 2" in " ".join(ended.text.split())
    assert 'hx-trigger="every 2s"' not in ended.text


def test_a_replay_of_a_time_in_which_nothing_was_missed_says_so(
    client: Client, pages: str, endpoint: NewEndpoint
) -> None:
    address = f"{pages}/endpoints/{endpoint.endpoint.id}/replay/"
    now = timezone.now()
    client.post(
        address,
        {"since": f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M}", "until": f"{now:%Y-%m-%dT%H:%M}"},
    )

    replays.go_on()

    assert "Nothing was missed in this time" in client.get(address).text


# ── Tests ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_test_with_a_changed_example_arrives_and_leads_to_its_message(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver
) -> None:
    address = f"{pages}/endpoints/{endpoint.endpoint.id}/test/"
    example = json.loads(client.get(f"{address}?type=job.failed").context["form"].initial["payload"])
    example["data"]["job_id"] = "mine"

    answer = client.post(address, {"type": "job.failed", "payload": json.dumps(example)})
    deliver()

    assert answer.headers["Location"] == f"{pages}/messages/{_the_message().uid}/"
    assert json.loads(receiver.arrivals[0].body) == example
    assert AuditEntry.objects.get(action="endpoint.tested").after["event_type"] == "job.failed"


def test_the_example_as_it_stands_is_the_engines_own(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver
) -> None:
    address = f"{pages}/endpoints/{endpoint.endpoint.id}/test/"
    example = client.get(address).context["form"].initial["payload"]

    client.post(address, {"type": "job.completed", "payload": example})
    deliver()

    assert json.loads(receiver.arrivals[0].body)["data"] == json.loads(example)["data"]


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        ("job.failed", ""),
        ("job.failed", "{"),
        ("job.failed", "[]"),
        ("job.failed", '{"a": NaN}'),
        ("job.failed", '{"a": 1e999}'),
        ("job.failed", '{"a": "\\ud800"}'),
        ("job.failed", '{"a": ' * 5000 + "1" + "}" * 5000),
        ("job.failed", '{"a": "' + "x" * 100_001 + '"}'),
        ("nothing", "{}"),
        ("\0", "{}"),
    ],
)
def test_a_payload_that_cannot_be_sent_is_refused(
    client: Client, pages: str, endpoint: NewEndpoint, event_type: str, payload: str
) -> None:
    answer = client.post(
        f"{pages}/endpoints/{endpoint.endpoint.id}/test/", {"type": event_type, "payload": payload}
    )

    assert answer.status_code == 400
    assert not Message.objects.exists()


def test_a_payload_with_a_nul_character_is_no_error_of_ours(
    client: Client, pages: str, endpoint: NewEndpoint, receiver: Receiver
) -> None:
    answer = client.post(
        f"{pages}/endpoints/{endpoint.endpoint.id}/test/",
        {"type": "job.failed", "payload": '{"a": "\\u0000"}'},
    )
    deliver()

    assert answer.status_code == 302
    assert json.loads(receiver.arrivals[0].body) == {"a": "\0"}


# ── What waits, and who may ──────────────────────────────────────────────────────────────────────────────────


def test_what_waits_is_told_with_the_reason(
    client: Client, pages: str, endpoint: NewEndpoint, send: Send
) -> None:
    send("job-1")
    send("job-2")
    first, second = OutboxMessage.objects.order_by("id")
    first.postpone("The server is away.")
    second.refuse("The payload is too large.")

    page = client.get(f"{pages}/waiting/")

    assert [message.uid for message in page.context["waiting"]] == [first.uid]
    assert [message.uid for message in page.context["refused"]] == [second.uid]
    assert "The server is away." in page.text
    assert "The payload is too large." in page.text


def test_nothing_waits(client: Client, pages: str) -> None:
    assert "Nothing waits" in client.get(f"{pages}/waiting/").text


def test_who_may_only_look_is_offered_nothing_to_send(
    client: Client, pages: str, viewer: User, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    client.force_login(viewer)
    address = f"{pages}/messages/{_the_message().uid}/"

    page = client.get(address)
    answer = client.post(f"{address}resend/", {"endpoint": endpoint.endpoint.id})

    assert page.status_code == 200
    assert "Send again" not in page.text
    assert answer.status_code == 403


def test_messages_of_another_organization_are_not_found(
    client: Client, other_organization: Organization, outsider: User, endpoint: NewEndpoint, send: Send
) -> None:
    endpoints.create(organization=other_organization, url="https://example.com/hook", actor=None)
    send()
    deliver()
    client.force_login(outsider)
    theirs = f"/o/{other_organization.uid}/webhooks"

    page = client.get(f"{theirs}/messages/{_the_message().uid}/")
    by_outbox = client.get(f"{theirs}/messages/{OutboxMessage.objects.get().uid}/")
    recovered = client.post(f"{theirs}/endpoints/{endpoint.endpoint.id}/recover/", {"span": "24"})

    assert [answer.status_code for answer in (page, by_outbox, recovered)] == [404, 404, 404]
