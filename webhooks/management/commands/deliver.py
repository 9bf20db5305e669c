import logging
import signal
import sys
import time
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import InterfaceError, InternalError, OperationalError, connection

from accounts import runs
from webhooks import relay
from webhooks.embedded import queue
from webhooks.embedded.delivery import Sender
from webhooks.publishing import Publisher

logger = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks while there is nothing to do
TURN = 0.0005  # seconds that the thread which sends may keep the one that waits for the database
LONGEST_PAUSE = 10.0  # seconds between two tries while the database is away


class Command(BaseCommand):
    help = "Hand the outbox over to the webhook engine and send what is due, until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Stop when nothing is due any more.")

    def handle(self, *, once: bool, **options: Any) -> None:
        self.is_stopping = False
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            sys.setswitchinterval(TURN)
        with Sender() as sender:
            self._run(sender, once=once)

    def _run(self, sender: Sender, *, once: bool) -> None:
        failures = 0
        is_prepared = False
        publisher = Publisher()
        pulse = runs.Pulse("deliver")
        while not self.is_stopping:
            if not once:
                publisher.step()
                pulse.beat()
            try:
                if not is_prepared:
                    _prepare_connection()
                    is_prepared = True
                is_busy = any([relay.hand_over(), sender.step(wait=POLL)])
                failures = 0
            except (OperationalError, InterfaceError, InternalError) as error:
                failures += 1
                pause = min(POLL * 2**failures, LONGEST_PAUSE)
                logger.warning("The database is away, next try in %.1f s: %s", pause, error)
                connection.close()  # also one that lives: after a failover its database may be one that only reads
                is_prepared = False
                self._pause(pause)
                continue
            if is_busy:
                continue
            if once and not queue.is_anything_due():
                break
            self._pause(POLL)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.is_stopping and time.monotonic() < end:
            time.sleep(min(seconds, POLL))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True


def _prepare_connection() -> None:
    """Let the database answer before it has written to disk, and go by its indexes whatever it thinks of the tables.

    What a crash of the database undoes is done again: a message handed over is known by its event id, and one whose
    attempt is forgotten is sent again, as after any crash. And plans are kept, also those made when the queue was
    empty, of which all can be read at once.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO off")
        for way in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET enable_{way} TO off")
