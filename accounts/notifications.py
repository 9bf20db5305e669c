"""Telling people: a row for the bell, which a sweep then mails to those who want it so."""

from collections.abc import Iterable

from accounts.models import NoticeKind, Notification, NotificationPreference, Organization, User


def notify(
    users: Iterable[User],
    *,
    kind: NoticeKind,
    key: str,
    title: str,
    body: str = "",
    url: str = "",
    organization: Organization | None = None,
) -> None:
    """Tell each of these people once: `key` names the fact, and the same again is passed over.

    `url` is a path of ours. Belongs into the transaction of the fact; the mail follows by itself.
    """
    people = list(users)
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
                title=title,
                body=body,
                url=url,
                by_mail=user.pk not in unwanted,
            )
            for user in people
        ],
        ignore_conflicts=True,
    )
