"""Idempotency keys: each stands for one payload, for good, and is claimed in the transaction that records it."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from accounts import prepared
from usage import statements
from usage.reports_in import CORRECTION

_CLAIM = """
INSERT INTO usage_idempotencykey (organization_id, key, digest, created_at)
SELECT organization_id, key, digest, now()
FROM json_to_recordset(%s::json) AS x (organization_id bigint, key text, digest text)
ON CONFLICT DO NOTHING RETURNING organization_id, key
"""

# A statement of its own: it sees what another writer committed while the claim waited for it.
_DIGESTS = """
SELECT k.organization_id, k.key, k.digest
FROM json_to_recordset(%s::json) AS x (organization_id bigint, key text)
JOIN usage_idempotencykey k ON k.organization_id = x.organization_id AND k.key = x.key
"""

_RELEASE = """
DELETE FROM usage_idempotencykey k
USING json_to_recordset(%s::json) AS x (organization_id bigint, key text)
WHERE k.organization_id = x.organization_id AND k.key = x.key
"""

_AMEND = """
UPDATE usage_idempotencykey k SET digest = x.digest
FROM json_to_recordset(%s::json) AS x (organization_id bigint, key text, digest text)
WHERE k.organization_id = x.organization_id AND k.key = x.key
"""

# What takes a record back stays: by its key a record is taken back once, however old it is by then.
_PRUNE = f"""
DELETE FROM usage_idempotencykey k
USING (
    SELECT organization_id, key FROM usage_idempotencykey
    WHERE created_at < %s AND key NOT LIKE '{CORRECTION}%%' LIMIT %s
    FOR UPDATE SKIP LOCKED) old
WHERE k.organization_id = old.organization_id AND k.key = old.key
RETURNING k.key
"""
BATCH = 10_000

# An organization's key, and the digest of the payload it comes with.
Key = tuple[int, str]
Claim = tuple[Key, str]


def digest(encoded: bytes) -> str:
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def claim(claims_of_reports: Sequence[Sequence[Claim]]) -> list[list[bool] | str]:
    """Claim the keys of a batch of reports, in the transaction that is open.

    The answer for each report is, for each of its claims, whether it is the first; or the key that stands for another
    payload, and then none of the report's claims hold.
    """
    wanted: dict[Key, str] = {}
    for claims in claims_of_reports:
        for key, payload in claims:
            wanted.setdefault(key, payload)
    if not wanted:
        return [[] for _ in claims_of_reports]
    rows = [{"organization_id": key[0], "key": key[1], "digest": wanted[key]} for key in sorted(wanted)]
    claimed = {(organization, key) for organization, key in statements.run(_CLAIM, rows)}
    # What each key stands for. Those claimed just now stand for what the first report to pass brings.
    stands: dict[Key, str] = {}
    if len(claimed) < len(wanted):
        taken = [row for row in rows if (row["organization_id"], row["key"]) not in claimed]
        for organization, key, payload in statements.run(_DIGESTS, taken):
            stands[organization, key] = payload
    answers = [_answer(claims, stands) for claims in claims_of_reports]
    # Keys claimed for a report that was then refused: another one's payload stands, or nobody's.
    amended = [key for key in sorted(claimed) if stands.get(key, wanted[key]) != wanted[key]]
    if amended:
        statements.run(_AMEND, [{"organization_id": o, "key": k, "digest": stands[o, k]} for o, k in amended])
    unused = sorted(claimed - stands.keys())
    if unused:
        statements.run(_RELEASE, [{"organization_id": o, "key": k} for o, k in unused])
    return answers


def prune(*, before: datetime) -> int:
    """Forget the keys claimed before then, in short transactions, and return how many there were."""
    pruned = 0
    while batch := len(prepared.fetch(_PRUNE, [before, BATCH])):
        pruned += batch
    return pruned


def _answer(claims: Sequence[Claim], stands: dict[Key, str]) -> list[bool] | str:
    own = dict(reversed(claims))  # within a report, too, the first use of a key decides
    for key, payload in claims:
        if stands.get(key, own[key]) != payload:
            return key[1]
    answer = []
    for key, payload in claims:
        answer.append(key not in stands)
        stands[key] = payload
    return answer
