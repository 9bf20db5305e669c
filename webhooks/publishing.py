"""Making the catalogue known to a Svix server, as its event types. The embedded engine has it anyway."""

import logging
from time import monotonic

from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EventTypeUpsertIn

from webhooks.events import EVENT_TYPES
from webhooks.gateway import EmbeddedSvix, get_svix

logger = logging.getLogger(__name__)

# In seconds. The patience is for one request, since deliveries wait meanwhile.
INTERVAL = 3600.0
RETRY = 60.0
PATIENCE = 2.0


def publish(*, patience: float | None = None) -> int:
    """Put each type of the catalogue on the server as the embedded engine tells of it, and return how many.

    Types that others made there stay as they are. Raises the SDK's errors.
    """
    svix = get_svix(patience=patience)
    if isinstance(svix, EmbeddedSvix):
        return 0
    for name in EVENT_TYPES:
        told = EmbeddedSvix().event_type.get(name)
        svix.event_type.upsert(
            name,
            EventTypeUpsertIn(
                description=told.description,
                schemas=told.schemas,
                group_name=told.group_name,
                archived=told.archived,
                deprecated=told.deprecated,
            ),
        )
    return len(EVENT_TYPES)


class Publisher:
    """Publishes when it is first asked and then every hour. While the server does not take it, every minute."""

    def __init__(self) -> None:
        self._due_at = 0.0

    def step(self) -> None:
        if monotonic() < self._due_at:
            return
        pause = INTERVAL
        try:
            publish(patience=PATIENCE)
        except (HttpError, HTTPValidationError) as error:
            pause = RETRY
            logger.warning("The event types are not published, next try in %.0f s: %s", pause, error)
        self._due_at = monotonic() + pause
