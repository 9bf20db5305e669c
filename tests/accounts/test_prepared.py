"""The queries of hot paths are prepared, and no others."""

import pytest
from django.db import OperationalError, connection, connections, transaction

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


def lose_the_connection() -> None:
    """As when the database restarts, or a firewall forgets what nobody uses."""
    own = connection.connection.info.backend_pid
    with connections["default"].copy().cursor() as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [own])
        other.connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_connection_lost_meanwhile_is_made_anew() -> None:
    prepared.fetch("SELECT 1", [])
    lose_the_connection()

    assert prepared.fetch("SELECT 41 + %s::int", [1]) == [(42,)]


@pytest.mark.django_db(transaction=True)
def test_within_a_transaction_a_lost_connection_is_an_error() -> None:
    with pytest.raises(OperationalError), transaction.atomic():
        prepared.fetch("SELECT 1", [])
        lose_the_connection()
        prepared.fetch("SELECT 1", [])


@pytest.mark.django_db(transaction=True)
def test_what_fails_on_a_good_connection_is_not_tried_again() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 50")

    with pytest.raises(OperationalError):
        prepared.fetch("SELECT pg_sleep(10)", [])
    connection.close()
