"""When a failing endpoint is turned off, and what members hear of it: cases 44, 46 and 48."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from svix.models import EndpointPatch

from accounts import notifications
from accounts.models import AuditEntry, NoticeKind, Notification, NotificationPreference, Organization, User
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints, operational, outbox
from webhooks.embedded import health
from webhooks.embedded.queue import SCHEDULE
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Endpoint, Status

pytestmark = pytest.mark.django_db

Send = Callable[..., None]


def _fail_to_the_end(
    send: Send, receiver: Receiver, *, status: int = 500, tries: int = 1 + len(SCHEDULE)
) -> None:
    """Send a message that fails so many times and is not tried again; the receiver is well afterwards."""
    send()
    receiver.answer(*[status] * tries)
    for _ in range(tries):
        deliver()
        let_time_pass()
    Delivery.objects.update(next_attempt_at=None)
    receiver.answers.clear()


def _given_up_before(**ago: float) -> None:
    moment = timezone.now() - timedelta(**ago)
    Endpoint.objects.update(failing_since=moment, exhausted_since=moment)


def _titles(user: User) -> list[str]:
    notices = Notification.objects.filter(user=user, kind=NoticeKind.WEBHOOKS)
    return list(notices.order_by("pk").values_list("title", flat=True))


def test_44_an_endpoint_with_a_message_given_up_long_after_the_first_is_turned_off(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    _given_up_before(hours=121)

    _fail_to_the_end(send, receiver)

    row = Endpoint.objects.get()
    assert row.disabled
    assert row.disabled_at
    assert row.disabled_reason.startswith("Every message has failed since ")
    entry = AuditEntry.objects.order_by("pk").last()
    assert entry
    assert (entry.action, entry.actor, entry.after["disabled"]) == ("endpoint.updated", None, True)


def test_44_one_that_has_not_failed_for_so_long_stays_on(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    _given_up_before(hours=119)

    _fail_to_the_end(send, receiver)

    assert not Endpoint.objects.get().disabled


def test_44_any_success_forgives_what_was_before(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    _given_up_before(hours=121)
    send("one that arrives")
    deliver()
    assert Endpoint.objects.get().failing_since is Endpoint.objects.get().exhausted_since is None

    _fail_to_the_end(send, receiver)

    assert not Endpoint.objects.get().disabled
    assert Endpoint.objects.get().exhausted_since


def test_44_turned_on_again_it_starts_anew(
    organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    _given_up_before(hours=121)
    _fail_to_the_end(send, receiver)
    endpoints.update(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        changes=EndpointPatch(disabled=False),
        actor=None,
    )

    _fail_to_the_end(send, receiver)

    assert not Endpoint.objects.get().disabled


def test_44_failing_since_is_the_first_failure(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    _fail_to_the_end(send, receiver, tries=2)

    first, _ = Attempt.objects.order_by("timestamp")
    assert Endpoint.objects.get().failing_since == first.timestamp
    assert Endpoint.objects.get().exhausted_since is None


@pytest.mark.parametrize(
    ("status", "headers"),
    [(410, {}), (500, {"webhook-delivery": "disable"}), (200, {"Webhook-Delivery": "Disable"})],
)
def test_46_a_receiver_that_is_gone_is_sent_nothing_more(
    status: int, headers: dict[str, str], endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send("first")
    receiver.answer(status, headers=headers)
    deliver()
    let_time_pass()
    send("second")

    deliver()

    assert len(receiver.arrivals) == 1
    assert Endpoint.objects.get().disabled_reason == health.GONE
    assert Delivery.objects.get().status == (Status.SUCCESS if status == 200 else Status.FAIL)


def test_46_a_message_that_the_receiver_aborts_is_given_up_and_the_next_is_sent(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send("first")
    receiver.answer(500, headers={"webhook-delivery": "abort-message"})
    deliver()
    let_time_pass()
    send("second")

    deliver()

    assert len(receiver.arrivals) == 2
    assert sorted(Delivery.objects.values_list("status", flat=True)) == [Status.SUCCESS, Status.FAIL]
    assert not Endpoint.objects.get().disabled


def test_46_a_url_of_a_job_that_is_gone_is_not_tried_again(send: Send, receiver: Receiver) -> None:
    send(url=receiver.url)
    receiver.answer(410)

    for _ in range(2):
        deliver()
        let_time_pass()

    assert len(receiver.arrivals) == 1
    assert Delivery.objects.get().status == Status.FAIL


def test_48_members_hear_of_failures_once_an_episode(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, owner: User, viewer: User, outsider: User
) -> None:
    for _ in range(3):
        _fail_to_the_end(send, receiver, tries=4)

    assert len(_titles(owner)) == len(_titles(viewer)) == 1
    assert "are failing" in _titles(owner)[0]
    assert _titles(outsider) == []
    send("one that arrives")
    deliver()
    _fail_to_the_end(send, receiver, tries=4)
    assert len(_titles(owner)) == 2


def test_48_the_notice_names_endpoint_event_types_and_errors(
    organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver, owner: User
) -> None:
    receiver.answer(503)
    send("first")
    deliver()
    let_time_pass()

    outbox.send(organization=organization, event_type="job.failed", data={"job_id": "job-2"})
    receiver.answer(*[500] * 9)
    for _ in range(3):
        deliver()
        let_time_pass()

    notice = Notification.objects.get(user=owner, kind=NoticeKind.WEBHOOKS)
    body = notice.body
    assert notice.url == reverse("webhooks:endpoint", args=[organization.uid, endpoint.endpoint.id])
    assert f"Endpoint: {receiver.url}" in body
    assert "Event types: job.completed, job.failed" in body
    assert "First error: 503 Service Unavailable" in body
    assert "Last error: 500 Internal Server Error" in body


def test_48_members_are_warned_on_the_way_and_told_of_the_end(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, owner: User
) -> None:
    _fail_to_the_end(send, receiver)
    for hours in (97, 121):
        Endpoint.objects.update(exhausted_since=timezone.now() - timedelta(hours=hours))
        _fail_to_the_end(send, receiver)

    failing, given_up, ending, end = _titles(owner)
    assert "are failing" in failing
    assert "were given up" in given_up
    assert "are about to be turned off" in ending
    assert "are turned off" in end


def test_48_who_does_not_want_letters_gets_none(
    organization: Organization,
    endpoint: NewEndpoint,
    send: Send,
    receiver: Receiver,
    owner: User,
    admin: User,
    mailoutbox: list[Any],
) -> None:
    NotificationPreference.objects.create(
        user=admin, organization=organization, kind=NoticeKind.WEBHOOKS, by_mail=False
    )
    Notification.objects.all().delete()
    send()
    receiver.answer(410)
    deliver()

    notifications.mail_waiting()

    recipients = {letter.to[0] for letter in mailoutbox}
    assert owner.email in recipients
    assert admin.email not in recipients
    assert _titles(admin)


def test_43_turning_off_is_told_as_svix_tells_it(
    organization: Organization,
    endpoint: NewEndpoint,
    send: Send,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(operational, "emit", lambda _, event_type, data: told.append((event_type, data)))
    send()
    receiver.answer(410)

    deliver()

    [(event_type, data)] = told
    assert event_type == "endpoint.disabled"
    assert (data["appUid"], data["endpointId"]) == (organization.uid, endpoint.endpoint.id)
    assert data["trigger"] == "automatic"
    assert data["failSince"].endswith("Z")
