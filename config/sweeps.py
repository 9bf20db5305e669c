"""Having a periodic task run now, because somebody of the staff asks for it."""

from django.db import transaction
from kombu.exceptions import OperationalError

from accounts import audit, runs, volatile
from accounts.audit import Actor
from config.celery import app
from config.task_runs import TASKS


class UnknownTask(Exception):
    """No task of the schedule has this name."""


class QueueAway(Exception):
    """The queue does not answer; nothing was written down."""


@transaction.atomic
def run(*, task: str, reason: str, actor: Actor) -> None:
    """Give a periodic task to the worker: it runs there, not here. Each may run twice at once.

    Raises UnknownTask, QueueAway, and `runs.AskedJustNow` if it was asked for a moment ago.
    """
    if task not in TASKS:
        raise UnknownTask(task)
    try:  # it answers at once or is away, whereas Celery would wait for it, and the task's own row with it
        volatile.ask(lambda: volatile.client().ping())
    except volatile.Unavailable as error:
        raise QueueAway from error
    asked = runs.ask(task)
    audit.record(audit.Action.SWEEP_RUN, actor=actor, target=asked, after={"reason": reason})
    try:
        # Before the commit, so that the trail tells only of what was queued: the task reads nothing of this.
        app.send_task(task, retry=False)
    except OperationalError as error:
        raise QueueAway from error
