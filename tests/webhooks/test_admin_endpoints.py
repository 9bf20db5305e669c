"""What support does for an endpoint: turn it on or off, send what it missed, test it, delete it."""

import re
from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings
from svix.models import EndpointPatch

from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Organization, User
from tests.conftest import colleague, sign_in_verified
from tests.webhooks.conftest import Receiver, deliver
from webhooks import endpoints, replays, waiting
from webhooks.embedded import attempt_counts
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Endpoint, EndpointHour, Message, Replay, Status

Send = Callable[..., None]

WHY = "They wrote: our server is repaired"
ASKED = {"_form_submitted": "True", "reason": WHY}


@pytest.fixture
def row(endpoint: NewEndpoint) -> Endpoint:
    return Endpoint.objects.get(uid=endpoint.endpoint.id)


@pytest.fixture
def disabled(row: Endpoint) -> Endpoint:
    row.switch(disabled=True, now=timezone.now() - timedelta(hours=1), reason="It failed for five days.")
    row.save()
    return row


def _act(name: str, row: Endpoint) -> str:
    return reverse(f"admin:webhooks_endpoint_{name}", args=[row.pk])


def _page(row: Endpoint) -> str:
    return _act("change", row)


def _newest() -> AuditEntry:
    return AuditEntry.objects.newest_first()[0]


def test_an_endpoint_is_enabled_with_a_reason(
    back_office: Client, disabled: Endpoint, staff: User, organization: Organization
) -> None:
    back_office.post(_act("enable", disabled), ASKED)

    disabled.refresh_from_db()
    assert not disabled.disabled
    entry = _newest()
    assert (entry.action, entry.actor, entry.organization) == (Action.ENDPOINT_UPDATED, staff, organization)
    assert entry.after == {"disabled": False, "reason": WHY}
    assert not Replay.objects.exists()


def test_nothing_is_done_without_a_reason(back_office: Client, disabled: Endpoint) -> None:
    answer = back_office.post(_act("enable", disabled), {"_form_submitted": "True", "reason": " "})

    disabled.refresh_from_db()
    assert disabled.disabled
    assert "This field is required" in answer.content.decode()


def test_enabling_offers_what_was_missed_and_sends_it(
    back_office: Client, disabled: Endpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()

    dialog = back_office.get(_act("enable", disabled)).content.decode()
    back_office.post(_act("enable", disabled), ASKED | {"with_missed": "on"})
    while replays.go_on():
        pass
    deliver()

    assert "UTC: 1 message." in dialog
    assert len(receiver.arrivals) == 1
    replay = Replay.objects.get()
    assert replay.since == disabled.disabled_at
    entry = _newest()
    assert (entry.action, entry.after["reason"]) == (Action.ENDPOINT_REPLAYED, WHY)


def test_who_may_not_replay_is_not_offered_it(client: Client, disabled: Endpoint) -> None:
    person = colleague("Eve", "Engineer")
    engineers = person.groups.get()
    engineers.permissions.remove(engineers.permissions.get(codename="replay_endpoint"))
    sign_in_verified(client, person)

    dialog = client.get(_act("enable", disabled)).content.decode()
    client.post(_act("enable", disabled), ASKED | {"with_missed": "on"})

    assert "with_missed" not in dialog
    assert not Replay.objects.exists()
    disabled.refresh_from_db()
    assert not disabled.disabled


def test_an_endpoint_is_disabled_with_a_reason_which_its_page_shows(
    back_office: Client, client: Client, row: Endpoint, owner: User, organization: Organization
) -> None:
    back_office.post(_act("disable", row), ASKED)

    row.refresh_from_db()
    assert row.disabled
    assert _newest().after == {"disabled": True, "reason": WHY}
    assert f"support: {WHY}" in back_office.get(_page(row)).content.decode()
    client.force_login(owner)
    page = client.get(reverse("webhooks:endpoint", args=[organization.uid, row.uid]))
    assert WHY in page.content.decode()
    assert "support," in page.content.decode()


@pytest.mark.parametrize("group", ["Support", "Billing desk"])
@pytest.mark.parametrize("name", ["enable", "disable", "try_now", "send_test", "send_missed", "remove"])
def test_acts_are_refused_without_their_permission(
    client: Client, row: Endpoint, group: str, name: str
) -> None:
    row.disabled = name == "enable"
    row.save()
    sign_in_verified(client, colleague("Sam", group))

    page = client.get(_page(row))

    assert client.post(_act(name, row), ASKED | {"event_type": "job.completed"}).status_code == 403
    assert page.status_code == 200
    assert _act(name, row) not in page.content.decode()


def test_engineers_see_the_buttons_that_make_sense(client: Client, row: Endpoint) -> None:
    sign_in_verified(client, colleague("Eve", "Engineer"))

    page = client.get(_page(row)).content.decode()

    for name in ("disable", "send_test", "send_missed", "remove"):
        assert _act(name, row) in page
    for name in ("enable", "try_now"):
        assert _act(name, row) not in page


def test_a_test_is_sent(
    back_office: Client, row: Endpoint, receiver: Receiver, organization: Organization
) -> None:
    back_office.post(_act("send_test", row), ASKED | {"event_type": "job.failed"})
    deliver()

    assert '"type":"job.failed"' in receiver.arrivals[0].body.replace(": ", ":")
    entry = _newest()
    assert (entry.action, entry.organization) == (Action.ENDPOINT_TESTED, organization)
    assert entry.after == {"event_type": "job.failed", "message": Message.objects.get().uid, "reason": WHY}


def test_an_endpoint_is_deleted_with_a_reason(back_office: Client, row: Endpoint) -> None:
    back_office.post(_act("remove", row), ASKED)

    assert not Endpoint.objects.existing().exists()
    assert (_newest().action, _newest().after) == (Action.ENDPOINT_DELETED, {"reason": WHY})
    assert back_office.get(_page(row)).status_code == 302


def test_who_may_only_look_reads_that_it_wants_all_event_types(client: Client, row: Endpoint) -> None:
    sign_in_verified(client, colleague("Sue", "Support"))

    page = client.get(_page(row)).content.decode()

    assert re.search(r">\s*all\s*<", page)


def test_no_id_of_a_dialog_is_on_the_page_behind_it(back_office: Client, row: Endpoint) -> None:
    behind = set(re.findall(r' id="([^"]+)"', back_office.get(_page(row)).content.decode()))

    dialog = back_office.get(_act("disable", row)).content.decode()

    assert set(re.findall(r'<(?:input|select|textarea)[^>]* id="([^"]+)"', dialog)) - behind
    assert not behind & set(re.findall(r'<(?:input|select|textarea)[^>]* id="([^"]+)"', dialog))
    assert 'for="dialog_reason"' in dialog
    assert 'name="reason"' in dialog


# ── What waits for its next try ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def waits(row: Endpoint, send: Send, receiver: Receiver) -> Endpoint:
    """A repaired endpoint with two messages that failed and wait for five hours."""
    send("a")
    send("b")
    receiver.answer(500, 500)
    deliver()
    Delivery.objects.update(next_attempt_at=timezone.now() + timedelta(hours=5))
    return row


def test_how_much_waits_for_its_next_try_and_until_when_is_said(back_office: Client, waits: Endpoint) -> None:
    first = Delivery.objects.order_by("next_attempt_at")[0].next_attempt_at
    assert first

    page = back_office.get(_page(waits)).content.decode()
    missed = back_office.get(_act("send_missed", waits) + _window(what="failed")).content.decode()

    words = f"2 messages, the first at {first.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    assert words in page
    assert words in missed


def test_what_waits_is_tried_now_once_with_a_reason(
    back_office: Client, waits: Endpoint, receiver: Receiver, staff: User, organization: Organization
) -> None:
    url = _act("try_now", waits)
    offered = url in back_office.get(_page(waits)).content.decode()

    for _ in range(2):
        back_office.post(url, ASKED)
    deliver()
    deliver()

    assert offered
    assert len(receiver.arrivals) == 4
    assert set(Delivery.objects.values_list("status", flat=True)) == {Status.SUCCESS}
    entry = AuditEntry.objects.get(action=Action.ENDPOINT_RETRIED)
    assert (entry.actor, entry.organization, entry.target_uid) == (staff, organization, waits.uid)
    assert entry.after == {"messages": 2, "reason": WHY}
    assert url not in back_office.get(_page(waits)).content.decode()


def test_what_is_tried_now_and_fails_goes_on_waiting(
    back_office: Client, waits: Endpoint, receiver: Receiver
) -> None:
    receiver.answer(500, 500)
    back_office.post(_act("try_now", waits), ASKED)
    deliver()

    assert waiting.at(waits).count == 2
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {2}


def test_what_is_under_way_or_waits_elsewhere_is_left_alone(
    waits: Endpoint, staff: User, other_organization: Organization
) -> None:
    under_way, _ = Delivery.objects.order_by("pk")
    Delivery.objects.filter(pk=under_way.pk).update(is_under_way=True)
    elsewhere = Endpoint.objects.create(organization=other_organization, url="https://example.org/hook")

    assert waiting.try_now(endpoint=elsewhere, actor=Actor(staff), reason=WHY) == 0
    assert waiting.try_now(endpoint=waits, actor=Actor(staff), reason=WHY) == 1

    lease = under_way.next_attempt_at
    under_way.refresh_from_db()
    assert under_way.next_attempt_at == lease


# ── What it missed ───────────────────────────────────────────────────────────────────────────────────────────


def _window(**more: str) -> str:
    now = timezone.now()
    times = {
        "since": f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M}",
        "until": f"{now + timedelta(minutes=2):%Y-%m-%dT%H:%M}",
    }
    return "?" + "&".join(f"{name}={value}" for name, value in (times | more).items())


@pytest.fixture
def missed(disabled: Endpoint, send: Send) -> Endpoint:
    """An endpoint that missed two messages and is on again."""
    send("a")
    send("b")
    deliver()
    disabled.switch(disabled=False, now=timezone.now())
    disabled.save()
    return disabled


def test_how_much_was_missed_is_shown_before_anything_is_sent(back_office: Client, missed: Endpoint) -> None:
    page = back_office.get(_act("send_missed", missed) + _window(what="missed")).content.decode()

    assert "2 messages" in page
    assert "Send them" in page
    assert not Replay.objects.exists()


def test_what_was_missed_is_sent_in_the_background_and_its_progress_shown(
    back_office: Client, missed: Endpoint, receiver: Receiver, staff: User
) -> None:
    answer = back_office.post(_act("send_missed", missed) + _window(what="missed"), {"reason": WHY})
    begun = back_office.get(answer.headers["Location"]).content.decode()
    while replays.go_on():
        pass
    deliver()
    done = back_office.get(answer.headers["Location"]).content.decode()

    assert "found so far" in begun
    assert 'hx-trigger="every 2s"' in begun
    assert "2 of 2 sent" in done
    assert "hx-trigger" not in done[done.index("replay-progress") :][:100]
    assert len(receiver.arrivals) == 2
    assert Replay.objects.get().created_by == staff
    assert (_newest().action, _newest().after["reason"]) == (Action.ENDPOINT_REPLAYED, WHY)


def test_members_do_not_read_who_of_support_had_what_was_missed_sent(
    back_office: Client, missed: Endpoint, owner: User, organization: Organization, staff: User
) -> None:
    back_office.post(_act("send_missed", missed) + _window(what="missed"), {"reason": WHY})
    own = Client()
    own.force_login(owner)

    page = own.get(f"/o/{organization.uid}/webhooks/endpoints/{missed.uid}/replay/").content.decode()

    assert "Counting" in page
    assert staff.name not in page


def test_it_is_not_begun_twice(back_office: Client, missed: Endpoint) -> None:
    url = _act("send_missed", missed) + _window(what="missed")
    back_office.post(url, {"reason": WHY})

    again = back_office.post(url, {"reason": WHY}, follow=True)

    assert Replay.objects.count() == 1
    assert "being sent already" in again.content.decode()


def test_what_failed_is_sent_again(
    back_office: Client, row: Endpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(500)
    deliver()
    url = _act("send_missed", row) + _window(what="failed")

    back_office.post(url, {"reason": WHY})
    deliver()

    assert [attempt.status_code for attempt in Attempt.objects.order_by("pk")] == [500, 200]
    entry = _newest()
    assert (entry.action, entry.after["reason"]) == (Action.ENDPOINT_RECOVERED, WHY)


def test_a_time_that_ends_before_it_begins_is_refused(back_office: Client, row: Endpoint) -> None:
    answer = back_office.get(
        _act("send_missed", row) + "?what=missed&since=2026-02-02T10:00&until=2026-02-01T10:00"
    )

    assert answer.status_code == 400
    assert "not after its beginning" in answer.content.decode()


def test_what_failed_is_looked_at_for_14_days_only(back_office: Client, row: Endpoint) -> None:
    answer = back_office.get(
        _act("send_missed", row) + "?what=failed&since=2026-02-01T10:00&until=2026-03-01T10:00"
    )

    assert "At most 14 days" in answer.content.decode()


# ── Its page ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_its_page_shows_how_it_fares(
    back_office: Client, row: Endpoint, send: Send, receiver: Receiver, organization: Organization
) -> None:
    send("a")
    deliver()
    send("b")
    receiver.answer(503, body=b"Down for repair")
    deliver()

    page = back_office.get(_page(row)).content.decode()

    for told in ("2 attempts: 1 arrived, 1 failed", "Failing", "answered 503 · Down for repair"):
        assert told in page
    for attempt in Attempt.objects.all():
        assert reverse("admin:webhooks_attempt_change", args=[attempt.pk]) in page
    assert reverse("admin:accounts_organization_change", args=[organization.pk]) in page


def test_values_of_headers_and_the_secret_are_not_on_its_page(
    back_office: Client, row: Endpoint, endpoint: NewEndpoint, organization: Organization
) -> None:
    endpoints.update(
        organization=organization,
        endpoint_id=row.uid,
        changes=EndpointPatch(),
        headers=endpoints.HeaderChanges(to_set={"X-Tenant": "blue-4711"}),
        actor=None,
    )

    page = back_office.get(_page(row)).content.decode()

    assert "X-Tenant: •••" in page
    assert "blue-4711" not in page
    assert endpoint.secret not in page


def test_its_page_asks_no_more_with_many_attempts(
    back_office: Client, row: Endpoint, send: Send, receiver: Receiver
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            back_office.get(_page(row))
        return len(queries)

    send("a")
    deliver()
    back_office.get(_page(row))
    few = asked()
    for number in range(12):
        send(f"more-{number}")
    deliver()

    assert asked() == few
    assert few < 25


def test_its_messages_and_attempts_are_found_by_its_id(
    back_office: Client, row: Endpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()
    message, attempt = Message.objects.get(), Attempt.objects.get()

    for model, uid in (("message", message.uid), ("attempt", receiver.url)):
        url = reverse(f"admin:webhooks_{model}_changelist")
        assert uid in back_office.get(url, {"q": row.uid}).content.decode()
        assert attempt.message.uid not in back_office.get(url, {"q": "ep_unknown"}).content.decode()


def test_the_last_success_is_found_in_the_hour_that_had_one(
    row: Endpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()
    moment = timezone.now() - timedelta(days=3)
    Attempt.objects.update(timestamp=moment)
    attempt_counts.fold(now=timezone.now())
    EndpointHour.objects.create(
        endpoint=row,
        hour=timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2),
        arrived=0,
        failed=7,
    )

    assert attempt_counts.last_arrival(row) == moment


def test_without_attempts_there_was_no_success(row: Endpoint) -> None:
    assert attempt_counts.last_arrival(row) is None


def test_with_a_svix_server_the_list_says_where_endpoints_are(
    back_office: Client, settings: Settings
) -> None:
    settings.SVIX_SERVER_URL, settings.SVIX_AUTH_TOKEN = "https://svix.example.com", "token"

    page = back_office.get(reverse("admin:webhooks_endpoint_changelist")).content.decode()

    assert "kept by the Svix server at svix.example.com" in page
    assert back_office.get(reverse("admin:webhooks_endpoint_add")).status_code == 403
