"""Telling people: a row for the bell, which a sweep then mails to those who want it so."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from time import monotonic
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import mail, notification_preferences
from accounts.models import Membership, NoticeKind, Notification, NotificationPreference, Organization, User

logger = logging.getLogger(__name__)

KEPT = timedelta(days=180)
# A letter under way is left alone for so long; each failure doubles it, and the last try is some 21 hours after
# the first.
FIRST_RETRY = timedelta(minutes=5)
ATTEMPTS = 9
# Seconds after which a sweep leaves the rest to the next one.
SWEEP = 25


def notify(
    users: Iterable[User],
    *,
    kind: NoticeKind,
    key: str,
    title: str,
    body: str = "",
    url: str = "",
    organization: Organization | None = None,
    by_mail: bool = True,
) -> None:
    """Tell each of these people once: `key` names the fact, and the same again is passed over.

    `url` is a path of ours. Belongs into the transaction of the fact; the mail follows by itself, unless not `by_mail`.
    What concerns an organization is mailed to its members only: name none to tell somebody that they have left.
    """
    title = " ".join(title.split())  # one line, as it becomes a letter's subject
    # In one order: two transactions that tell the same people then wait for each other, and never both.
    people = sorted(set(users), key=lambda user: user.pk)
    unwanted = set(
        NotificationPreference.objects.filter(
            user__in=people, organization=organization, kind=kind, by_mail=False
        ).values_list("user_id", flat=True)
    )
    Notification.objects.bulk_create(
        [
            Notification(
                user=user,
                organization=organization,
                kind=kind,
                key=key,
                title=title if len(title) <= 200 else f"{title[:199]}…",
                body=body,
                url=url,
                by_mail=by_mail and user.pk not in unwanted,
            )
            for user in people
        ],
        ignore_conflicts=True,
    )


def mail_waiting() -> int:
    """Mail what is waiting, for as long as a sweep may take. Returns how many letters went out."""
    end = monotonic() + SWEEP
    mailed = 0
    while monotonic() < end and (notification := _claim()):
        if not _is_wanted(notification):
            _give_up(notification)
            continue
        try:
            _mail(notification)
        except Exception as error:  # noqa: BLE001 (one letter that cannot go out must not hold up the others)
            # Not the error's words: a mail server's refusal names the address.
            logger.warning(
                "notice %s: letter not sent, try %d of %d (%s)",
                notification.uid,
                notification.mail_attempts,
                ATTEMPTS,
                type(error).__name__,
            )
            if notification.mail_attempts >= ATTEMPTS:
                _give_up(notification)
        else:
            Notification.objects.filter(pk=notification.pk).update(emailed_at=timezone.now())
            mailed += 1
    return mailed


def oldest_due() -> datetime | None:
    """Since when the letter is due that has been due longest."""
    due = Notification.objects.due().order_by("next_mail_at")
    return due.values_list("next_mail_at", flat=True).first()


def prune() -> int:
    """Forget what was told long ago. Returns how many notices."""
    deleted, _ = Notification.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
    return deleted


@transaction.atomic
def _claim() -> Notification | None:
    """Take the letter that waits longest. It comes up again by itself unless it is marked as mailed.

    So a worker that dies between the mail server and the mark has the letter sent once more, under the same
    Message-ID, by which mailboxes know it.
    """
    waiting = (
        Notification.objects.due()
        .select_for_update(skip_locked=True, of=("self",))
        .select_related("user", "organization")
        .order_by("next_mail_at")
        .first()
    )
    if waiting is not None:
        waiting.next_mail_at = timezone.now() + FIRST_RETRY * 2**waiting.mail_attempts
        waiting.mail_attempts += 1
        waiting.by_mail = waiting.mail_attempts <= ATTEMPTS
        waiting.save(update_fields=["next_mail_at", "mail_attempts", "by_mail"])
    return waiting


def _is_wanted(notification: Notification) -> bool:
    """Whether this person still is to get this letter: things may have changed since they were told."""
    user, organization = notification.user, notification.organization
    if not (notification.by_mail and user.is_active):
        return False
    if organization and not Membership.objects.of(user).filter(organization=organization).exists():
        return False
    return notification_preferences.wants_mail(
        user=user, organization=organization, kind=NoticeKind(notification.kind)
    )


def _give_up(notification: Notification) -> None:
    Notification.objects.filter(pk=notification.pk).update(by_mail=False)


def _mail(notification: Notification) -> None:
    user, organization = notification.user, notification.organization
    kind = NoticeKind(notification.kind)
    subject = notification_preferences.TOPICS[kind].subject
    mail.send(
        "notification",
        to=user.email,
        context={
            "notification": notification,
            "url": f"{settings.BASE_URL}{notification.url}" if notification.url else "",
        },
        reason=(
            f"you are a member of {organization.name} and want its notices about {subject}"
            if organization
            else f"you have an account here and want notices about {subject}"
        ),
        unsubscribe_url=notification_preferences.unsubscribe_url(
            user=user, organization=organization, kind=kind
        ),
        message_id=f"<{notification.uid}@{urlsplit(settings.BASE_URL).hostname}>",
    )
