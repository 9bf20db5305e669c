"""No list of the back office looks through a whole table, whatever it is narrowed to or searched by."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiKey, AuditEntry, Invitation, User
from billing.models import CreditEntry, CreditGrant, Invoice, MeterReport
from tests.config.rows import fill, multiply
from usage.models import Job, UsageRecord
from webhooks.models import Attempt, Message, OutboxMessage

ROWS = 30_000
# What a page may look at. Without an index an organization's rows are found among 10,000 others, rare ones in 25,000.
MOST = 6_000
# Values that a table takes, and that make it like one in use: rows of all kinds, the rare ones spread out.
RARELY = "CASE WHEN n % 500 = 0 THEN {} ELSE {} END"
BIG: dict[type[Model], dict[str, str]] = {
    User: {"email": "'person' || n || '@example' || n % 9000 || '.org'", "name": "'Given' || n || ' Family'"},
    ApiKey: {
        "name": "'server ' || n",
        "environment": "(ARRAY['production','staging','development'])[1 + n % 3]",
        "prefix": "'ch_production_' || n",
        "last_four": "lpad((n % 9999)::text, 4, '0')",
        "secret_hash": "'hash' || n",
        "disabled_at": RARELY.format("now()", "NULL"),
        "revoked_at": RARELY.format("now()", "NULL"),
        "expires_at": RARELY.format("now() - interval '1 day'", "NULL"),
    },
    Invitation: {
        "email": "'person' || n || '@example.org'",
        "token_hash": "'hash' || n",
        "role": "(ARRAY['admin','member','viewer'])[1 + n % 3]",
        "accepted_at": "CASE WHEN n % 100 > 2 THEN now() END",
        "declined_at": "CASE WHEN n % 100 = 1 THEN now() END",
        "revoked_at": "CASE WHEN n % 100 = 2 THEN now() END",
    },
    AuditEntry: {
        "action": "(ARRAY['api_key.created','session.ended','user.updated','credits.settled'])[1 + n % 4]",
        "target_uid": "'target' || n",
        "actor_name": "'person' || n % 999 || '@example.org'",
        "by_staff": "n % 500 = 0",
    },
    Job: {
        "job_id": "'job-' || n",
        "type": "(ARRAY['Parse','Extract','Split','Edit','Pipeline','Classify'])[1 + n % 6]",
        "status": RARELY.format("'Failed'", "'Completed'"),
    },
    UsageRecord: {
        "job_id": "'job-' || n",
        "idempotency_key": "'key-' || n",
        "unrated": "n % 500 = 0",
        "timestamp": "now() - make_interval(secs => 5)",
    },
    OutboxMessage: {
        "handed_over_at": RARELY.format("NULL", "now()"),
        "refused_at": "CASE WHEN n % 1000 = 0 THEN now() END",
    },
    Message: {"event_id": "'evt_' || n"},
    Attempt: {"status": RARELY.format("2", "0"), "trigger": RARELY.format("1", "0")},
    CreditGrant: {"kind": RARELY.format("'goodwill'", "'included'"), "key": "'grant' || n"},
    CreditEntry: {"kind": RARELY.format("'return'", "'usage'"), "key": "''"},
    Invoice: {"status": RARELY.format("'open'", "'paid'"), "stripe_id": "'in_' || n"},
    MeterReport: {
        "state": RARELY.format("'refused'", "'sent'"),
        "identifier": "'cr:' || n",
        "sequence": "n + 100",
    },
}
TERMS = (
    "{uid}",
    "{organization}",
    "person77@example77.org",
    "Given77",
    "job-77",
    "key-77",
    "in_77",
    "nobody",
)


def of_each(listed: Any) -> Iterator[str]:
    """The first page, the page after it, choices of each filter, and a search of each kind."""
    yield ""
    yield listed.next_link
    for spec in listed.filter_specs:
        yield from (choice["query_string"] for choice in list(spec.choices(listed))[1:7])
    row: Any = listed.result_list[-1]
    organization = getattr(getattr(row, "organization", None), "uid", "org_unknown")
    for term in TERMS:
        yield f"?q={term.format(uid=getattr(row, 'uid', ''), organization=organization)}"


def looked_at(table: str, statement: str) -> int:
    """How many rows of a table PostgreSQL reads to answer: all, where it reads it from end to end."""

    def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for below in node.get("Plans", ()):
            yield from nodes(below)

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement.replace("%", "%%"), [])
        [[answer]] = cursor.fetchall()
    plan = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    counts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(
        round(sum(node.get(name, 0) for name in counts) * node["Actual Loops"])
        for node in nodes(plan)
        if node.get("Relation Name", "").startswith(table)
    )


@pytest.mark.parametrize("model", BIG, ids=lambda model: model.__name__)
def test_no_page_of_a_big_list_looks_through_its_table(staff: User, model: type[Model]) -> None:
    fill(model, 1)
    multiply(model, ROWS, **BIG[model])
    table = model._meta.db_table
    found = {}

    def listed(address: str) -> Any:
        request = RequestFactory().get("/" + address)
        request.user = staff
        return admin.site._registry[model].get_changelist_instance(request)

    for address in of_each(listed("")):
        with CaptureQueriesContext(connection) as queries:
            listed(address)
        read = [looked_at(table, query["sql"]) for query in queries if f'FROM "{table}"' in query["sql"]]
        if sum(read) > MOST:
            found[address] = sum(read)

    assert found == {}
