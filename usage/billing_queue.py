"""Queueing what was metered for the air-gapped billing export, whose reader knows types and pages, no organizations.

The reader takes a row once by its idempotency key, which is unique only within an organization. The first organization
to use a key keeps it as it is; another's is followed by `@` and the organization's id. Its bill is by pages, and what
failed is not charged: a failed job's rows have none, and corrections are rows like any other, with what they add to the
pages: one that takes a record back has 0 or less, and one that stands in for it what it should have had. So the rows
add up to the pages of the jobs that did not fail, as corrected, whichever of their reports came first.
"""

from collections.abc import Sequence

from msgspec import Struct

from usage import statements

# Keys are claimed in order, as is all that several writers may want at once.
_ADD = """
WITH x AS (
    SELECT *, encode(substr(sha256(convert_to(idempotency_key, 'UTF8')), 1, 16), 'hex')::uuid AS digest
    FROM json_to_recordset(%s::json) AS x (
        organization_id bigint, idempotency_key text, product text, pages integer, billed_pages integer,
        credits numeric, corrects text, attributes jsonb, timestamp timestamptz)),
claimed AS (
    INSERT INTO usage_billingexportkey (digest, organization_id)
    SELECT digest, organization_id FROM x ORDER BY digest, organization_id
    ON CONFLICT DO NOTHING RETURNING digest, organization_id),
owned AS (
    SELECT digest, organization_id FROM claimed
    UNION
    SELECT digest, organization_id FROM x JOIN usage_billingexportkey USING (digest, organization_id))
INSERT INTO usage_billingexportrow (organization_id, idempotency_key, type, num_pages, attributes, timestamp)
SELECT x.organization_id,
    x.idempotency_key || CASE WHEN owned.digest IS NULL THEN '@' || o.uid ELSE '' END,
    x.product, COALESCE(x.billed_pages, x.pages),
    CASE WHEN x.corrects = '' THEN x.attributes ELSE jsonb_build_object(
        'corrects', x.corrects || CASE WHEN EXISTS (
            SELECT FROM usage_billingexportkey k
            WHERE k.digest = encode(substr(sha256(convert_to(x.corrects, 'UTF8')), 1, 16), 'hex')::uuid
            AND k.organization_id <> x.organization_id) THEN '@' || o.uid ELSE '' END,
        'credits', x.credits) END,
    x.timestamp
FROM x
LEFT JOIN owned USING (digest, organization_id)
LEFT JOIN accounts_organization o ON o.id = x.organization_id
"""


def add(records: Sequence[Struct]) -> None:
    """Queue usage records, in the transaction that writes them."""
    statements.run(_ADD, records)
