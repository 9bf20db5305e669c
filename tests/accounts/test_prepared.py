"""The queries of hot paths are prepared, and no others."""

from django.db import connection

from accounts import prepared
from accounts.models import Organization


def statements() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


def test_a_query_is_prepared_at_its_first_use(db: None) -> None:
    assert prepared.fetch("SELECT 41 + %s::int", [1]) == [(42,)]

    assert "SELECT 41 + $1::int" in statements()


def test_djangos_own_queries_are_not(db: None) -> None:
    for _ in range(10):
        list(Organization.objects.filter(name="x"))

    assert not any("accounts_organization" in statement for statement in statements())
