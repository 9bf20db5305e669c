"""When a key was last used, to within a minute, and never a write to the database for one request.

Each process notes the keys it sees in memory, hands them to Redis together every few seconds, and a periodic task
moves them from there into the table. What is lost on the way, with Redis or with a process, comes with the next use.
A database that fails loses nothing: what was on its way waits in Redis for the next run.
"""

import json
import logging
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

import redis
from django.db import connection

from accounts import volatile

logger = logging.getLogger(__name__)

STEP = 10.0  # seconds between two notes of a key, and between two hand-overs, in a process
_MOST_REMEMBERED = 50_000
_HASH = "api_keys:last_used"
_BEING_SAVED = "api_keys:last_used:being_saved"

# How often Redis did not take or give what was noted, in this process.
lost = count(1)

_lock = threading.Lock()
_noted: dict[int, float] = {}  # when this process last noted a key, by its own clock
_waiting: dict[int, float] = {}  # keys to hand over, with the unix time of their use
_timer: threading.Timer | None = None

# A key that somebody is changing is left to its next use: waiting for it with others locked could be a deadlock.
_SAVE = """
WITH used AS (
    SELECT k.id, x.at FROM json_to_recordset(%s::json) AS x (id bigint, at timestamptz)
    JOIN accounts_apikey k ON k.id = x.id
    WHERE k.last_used_at IS NULL OR k.last_used_at < x.at
    ORDER BY k.id FOR NO KEY UPDATE OF k SKIP LOCKED)
UPDATE accounts_apikey k SET last_used_at = used.at FROM used WHERE k.id = used.id
"""


def note(key_id: int) -> None:
    """Remember that this key is being used."""
    global _timer
    now = time.monotonic()
    if now - _noted.get(key_id, -STEP) < STEP:
        return
    with _lock:
        if len(_noted) >= _MOST_REMEMBERED:
            _noted.clear()
        _noted[key_id] = now
        _waiting[key_id] = time.time()
        if _timer is None:
            _timer = threading.Timer(STEP, hand_over)
            _timer.daemon = True
            _timer.start()


def hand_over() -> None:
    """Give Redis what this process has noted."""
    global _timer, _waiting
    with _lock:
        if _timer is not None:
            _timer.cancel()
        _timer, handed, _waiting = None, _waiting, {}
    if not handed:
        return
    try:
        volatile.ask(
            lambda: volatile.client().hset(_HASH, mapping={str(id): at for id, at in handed.items()})
        )
    except volatile.Unavailable as error:
        logger.warning("The last use of %d keys is lost (%d): %s", len(handed), next(lost), error)


def save() -> int:
    """Move what Redis was given into the table, which only ever gets later times. Returns how many keys that was."""
    try:
        used = volatile.ask(_to_be_saved)
    except volatile.Unavailable as error:
        logger.warning("When keys were last used cannot be read (%d): %s", next(lost), error)
        return 0
    if not used:
        return 0
    rows = [
        {"id": int(id), "at": datetime.fromtimestamp(float(at), UTC).isoformat()} for id, at in used.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_SAVE, [json.dumps(rows)])
    with suppress(volatile.Unavailable):  # then it is saved again, which changes nothing
        volatile.ask(lambda: volatile.client().delete(_BEING_SAVED))
    return len(rows)


def _to_be_saved() -> dict[bytes, bytes]:
    """What a run that failed has left, or else what was handed over since."""
    with volatile.client().pipeline(transaction=True) as pipeline:
        pipeline.renamenx(_HASH, _BEING_SAVED)  # an error where nothing was handed over
        pipeline.hgetall(_BEING_SAVED)
        _, used = pipeline.execute(raise_on_error=False)
    if isinstance(used, redis.RedisError):
        raise used
    return dict(used)
