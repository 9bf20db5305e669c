"""What a broken connection costs: one answer, not a thread."""

import pytest
from django.db import connection
from django.db.utils import OperationalError

from accounts import prepared


@pytest.mark.django_db(transaction=True)
def test_after_a_restart_of_the_database_the_connection_is_known_to_be_broken() -> None:
    prepared.fetch("SELECT 1", [])
    with pytest.raises(OperationalError):
        prepared.fetch("SELECT pg_terminate_backend(pg_backend_pid())", [])

    connection.close_if_unusable_or_obsolete()

    assert prepared.fetch("SELECT 1", []) == [(1,)]


def test_a_statement_in_a_pipeline_fails_at_its_end(db: None) -> None:
    with pytest.raises(Exception, match="division by zero"), prepared.pipeline():
        prepared.fetch("SELECT 1 / 0", [])
