"""A month's partition that two make at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from usage import partitions

MONTH = (2001, 2)  # nothing else writes into it

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_partition() -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {partitions._name(MONTH)}")


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
        return bool(cursor.fetchone()[0])


def test_whoever_comes_second_finds_it_there() -> None:
    def ensure() -> None:
        try:
            partitions.ensure([MONTH])
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            partitions.ensure([MONTH])
            second = pool.submit(ensure)
            while not waits_for_a_lock() and not second.done():
                pass

        second.result(timeout=30)
