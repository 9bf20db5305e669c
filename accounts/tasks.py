"""Periodic work. Each is a sweep: what one run missed, the next one finds."""

from celery import shared_task
from django.utils import timezone

from accounts import key_notices, keys, last_used, notifications, organizations, sessions, two_factor


@shared_task
def clear_ended_sessions() -> None:
    """Forget sessions that have expired or were ended."""
    sessions.clear_ended()


@shared_task
def mail_notifications() -> int:
    """Mail the notices that people asked to have by mail and were not sent yet."""
    return notifications.mail_waiting()


@shared_task
def prune_notifications() -> int:
    """Delete notices that are too old to be of use."""
    return notifications.prune()


@shared_task
def remind_of_two_factor() -> None:
    """Remind members who still lack the second factor that their organization will require."""
    two_factor.remind(now=timezone.now())


@shared_task
def settle_time_zones() -> int:
    """Make new time zones of organizations the current ones, once they have taken over."""
    return organizations.settle_time_zones(now=timezone.now())


@shared_task
def save_last_used() -> int:
    """Write down when keys were last used, which is collected in Redis."""
    return last_used.save()


@shared_task
def warn_of_expiring_keys() -> int:
    """Tell of keys that end in 30 days, in 7, and in one."""
    return key_notices.warn_of_expiry(now=timezone.now())


@shared_task
def disable_unrotated_keys() -> int:
    """Disable keys that were to be rotated by now and were not."""
    return keys.disable_unrotated(now=timezone.now())
