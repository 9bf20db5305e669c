"""Erasing what a deleted organization leaves in this app: all of it."""

from svix.exceptions import HttpError

from accounts.erasure import delete_in_batches
from accounts.models import Organization
from webhooks.embedded import applications
from webhooks.gateway import get_svix
from webhooks.models import OutboxMessage, Replay


def erase(organization: Organization) -> None:
    """Erase an organization's endpoints, messages and attempts, here and at the Svix server, if there is one.

    Raises the SDK's errors when the server cannot be reached.
    """
    delete_in_batches(OutboxMessage.objects.filter(organization=organization))
    delete_in_batches(Replay.objects.filter(organization=organization))
    try:
        get_svix().application.delete(organization.uid)
    except HttpError as error:
        if error.status_code != 404:
            raise
    # Messages to URLs that jobs named are here, whatever the engine.
    applications.erase(organization)
