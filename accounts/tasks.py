"""Periodic work. Each is a sweep: what one run missed, the next one finds."""

from celery import shared_task
from django.utils import timezone

from accounts import key_notices, keys, last_used, notifications, organizations, sessions, two_factor


@shared_task
def clear_ended_sessions() -> None:
    sessions.clear_ended()


@shared_task
def mail_notifications() -> int:
    return notifications.mail_waiting()


@shared_task
def prune_notifications() -> int:
    return notifications.prune()


@shared_task
def remind_of_two_factor() -> None:
    two_factor.remind(now=timezone.now())


@shared_task
def settle_time_zones() -> int:
    return organizations.settle_time_zones(now=timezone.now())


@shared_task
def save_last_used() -> int:
    return last_used.save()


@shared_task
def warn_of_expiring_keys() -> int:
    return key_notices.warn_of_expiry(now=timezone.now())


@shared_task
def disable_unrotated_keys() -> int:
    return keys.disable_unrotated(now=timezone.now())
