"""What support does with messages: send several again, and have handed over what waits or was refused."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Organization, User
from tests.conftest import colleague, sign_in_verified
from tests.webhooks.conftest import Receiver, deliver
from webhooks import contents, outbox, relay, retries
from webhooks.endpoints import NewEndpoint
from webhooks.models import Message, OutboxMessage

Send = Callable[..., None]

WHY = "The bug in what was sent is repaired"
OUTBOX = reverse("admin:webhooks_outboxmessage_changelist")
REFUSED = reverse("admin:webhooks_outboxmessage_retry_refused")


def _selected(action: str, rows: Any, **more: str) -> dict[str, Any]:
    return {"action": action, ACTION_CHECKBOX_NAME: [row.pk for row in rows], **more}


def _refuse(*messages: OutboxMessage) -> None:
    for message in messages:
        message.refuse("The payload is too large.")


def _window(**more: str) -> str:
    now = timezone.now()
    times = {
        "since": f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M}",
        "until": f"{now + timedelta(minutes=2):%Y-%m-%dT%H:%M}",
    }
    return f"{REFUSED}?" + "&".join(f"{name}={value}" for name, value in (times | more).items())


# ── Sending again ────────────────────────────────────────────────────────────────────────────────────────────


def test_several_messages_are_sent_again_with_one_reason(
    back_office: Client, endpoint: NewEndpoint, send: Send, receiver: Receiver, staff: User
) -> None:
    for name in "abc":
        send(name)
    deliver()
    chosen = OutboxMessage.objects.order_by("pk")[:2]

    asked = back_office.post(OUTBOX, _selected("resend_selected", chosen, index="0"))
    back_office.post(OUTBOX, _selected("resend_selected", chosen, reason=WHY))
    deliver()

    assert "2 messages" in asked.content.decode()
    assert len(receiver.arrivals) == 5
    entries = AuditEntry.objects.filter(action=Action.MESSAGE_RESENT)
    assert [(entry.actor, entry.after["reason"]) for entry in entries] == [(staff, WHY)] * 2


def test_one_that_cannot_be_sent_again_holds_up_no_other(
    back_office: Client, organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send("a", url=f"{receiver.url}mine")
    deliver()
    contents.expunge(organization.pk, before=timezone.now())
    send("b")
    deliver()
    send("waits")

    rows = OutboxMessage.objects.all()
    page = back_office.post(OUTBOX, _selected("resend_selected", rows, reason=WHY), follow=True)
    deliver()

    assert "content has been erased" in page.content.decode()
    assert "1 of those chosen have gone nowhere yet" in page.content.decode()
    assert "Sent again: 1 message." in page.content.decode()


def test_no_more_than_a_page_is_sent_again_whatever_a_form_says(
    back_office: Client, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send("a")
    send("b")
    deliver()
    first = OutboxMessage.objects.order_by("pk")[:1]

    back_office.post(OUTBOX, _selected("resend_selected", first, reason=WHY, select_across="1"))
    deliver()

    assert len(receiver.arrivals) == 3


def test_support_sends_again_and_the_billing_desk_does_not(
    client: Client, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()
    rows = OutboxMessage.objects.all()
    url = reverse("admin:webhooks_outboxmessage_resend", args=[rows[0].pk])
    asked = {"_form_submitted": "True", "reason": WHY}

    sign_in_verified(client, colleague("Bill", "Billing desk"))
    assert client.post(url, asked).status_code == 403
    assert "resend_selected" not in client.get(OUTBOX).content.decode()
    client.post(OUTBOX, _selected("resend_selected", rows, reason=WHY))
    deliver()
    assert len(receiver.arrivals) == 1
    sign_in_verified(client, colleague("Sue", "Support"))
    client.post(url, asked)
    deliver()
    assert len(receiver.arrivals) == 2


# ── Handing over once more ───────────────────────────────────────────────────────────────────────────────────


def test_a_refused_message_is_tried_once_more(
    back_office: Client, endpoint: NewEndpoint, send: Send, receiver: Receiver, staff: User
) -> None:
    send()
    message = OutboxMessage.objects.get()
    _refuse(message)
    deliver()
    assert not receiver.arrivals

    url = reverse("admin:webhooks_outboxmessage_retry", args=[message.pk])
    back_office.post(url, {"_form_submitted": "True", "reason": WHY})
    deliver()

    assert len(receiver.arrivals) == 1
    entry = AuditEntry.objects.newest_first()[0]
    assert (entry.action, entry.actor) == (Action.MESSAGE_RETRIED, staff)
    assert entry.after == {"event_type": "job.completed", "was": "refused", "reason": WHY}


def test_one_that_waits_need_not_wait_nor_what_stands_before_it(
    back_office: Client, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send("first")
    send("second")
    first, second = OutboxMessage.objects.order_by("pk")
    for _ in range(8):
        first.postpone("The server is down.")
    deliver()
    assert not receiver.arrivals

    back_office.post(OUTBOX, _selected("retry_selected", [second], reason=WHY))
    deliver()

    assert ["first" in arrival.body for arrival in receiver.arrivals] == [True, False]
    assert AuditEntry.objects.get(action=Action.MESSAGE_RETRIED).target_uid == second.uid


def test_what_is_handed_over_is_never_handed_over_again(
    back_office: Client, endpoint: NewEndpoint, send: Send, receiver: Receiver, staff: User
) -> None:
    send()
    message = OutboxMessage.objects.get()
    _refuse(message)

    for _ in range(2):
        retries.retry(ids=[message.pk], actor=Actor(staff), reason=WHY)
    deliver()
    assert retries.retry(ids=[message.pk], actor=Actor(staff), reason=WHY) == 0
    url = reverse("admin:webhooks_outboxmessage_retry", args=[message.pk])
    assert back_office.post(url, {"_form_submitted": "True", "reason": WHY}).status_code == 403
    deliver()

    assert len(receiver.arrivals) == 1
    assert Message.objects.count() == 1


def test_retried_while_a_worker_has_it_it_is_taken_once(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, staff: User
) -> None:
    send()
    claimed = relay._claim()

    retries.retry(ids=[claimed[0].pk], actor=Actor(staff), reason=WHY)
    relay.hand_over()
    relay._hand_over(claimed[0])
    deliver()

    assert Message.objects.count() == 1
    assert len(receiver.arrivals) == 1


def test_all_that_was_refused_in_a_time_is_counted_first_and_then_tried(
    back_office: Client,
    organization: Organization,
    other_organization: Organization,
    endpoint: NewEndpoint,
    send: Send,
    receiver: Receiver,
    staff: User,
) -> None:
    for name in "abc":
        send(name)
    outbox.send(
        organization=other_organization, event_type="job.failed", data={"job_id": "d"}, url=receiver.url
    )
    a, b, c, d = OutboxMessage.objects.order_by("pk")
    _refuse(a, b, c, d)
    OutboxMessage.objects.filter(pk=c.pk).update(refused_at=timezone.now() - timedelta(days=2))
    url = _window(organization=organization.uid)

    shown = back_office.get(url).content.decode()
    assert OutboxMessage.objects.exclude(refused_at=None).count() == 4
    back_office.post(url, {"reason": WHY})
    deliver()

    assert "2 messages refused between" in shown
    assert f"{organization}, job.completed" in shown
    assert len(receiver.arrivals) == 2
    assert set(OutboxMessage.objects.exclude(refused_at=None)) == {c, d}
    entry = AuditEntry.objects.get(action=Action.MESSAGES_RETRIED)
    assert (entry.organization, entry.actor, entry.after["messages"]) == (organization, staff, 2)
    assert entry.after["reason"] == WHY


def test_of_an_event_type_those_of_every_organization_are_tried(
    back_office: Client,
    organization: Organization,
    other_organization: Organization,
    endpoint: NewEndpoint,
    send: Send,
    receiver: Receiver,
) -> None:
    send("a")
    outbox.send(
        organization=other_organization, event_type="job.failed", data={"job_id": "d"}, url=receiver.url
    )
    _refuse(*OutboxMessage.objects.all())

    back_office.post(_window(event_type="job.failed"), {"reason": WHY})
    again = back_office.post(_window(event_type="job.failed"), {"reason": WHY}, follow=True)

    assert OutboxMessage.objects.exclude(refused_at=None).get().event_type == "job.completed"
    assert "nothing to be tried" in again.content.decode()


@pytest.mark.parametrize("bad", ["organization=org_unknown", "since=yesterday", "event_type=nonsense"])
def test_what_cannot_be_meant_is_an_error_of_the_form(back_office: Client, bad: str) -> None:
    name, _, value = bad.partition("=")

    assert back_office.get(_window(**{name: value})).status_code == 400


def test_who_may_not_retry_is_refused_everywhere(client: Client, endpoint: NewEndpoint, send: Send) -> None:
    send()
    message = OutboxMessage.objects.get()
    _refuse(message)
    sign_in_verified(client, colleague("Sue", "Support"))

    page = client.get(OUTBOX).content.decode()
    client.post(OUTBOX, _selected("retry_selected", [message], reason=WHY))

    assert client.get(_window()).status_code == 403
    url = reverse("admin:webhooks_outboxmessage_retry", args=[message.pk])
    assert client.post(url, {"_form_submitted": "True", "reason": WHY}).status_code == 403
    assert "retry_selected" not in page
    assert REFUSED not in page
    message.refresh_from_db()
    assert message.refused_at
