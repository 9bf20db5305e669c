"""Fixtures for the database and Redis: fast to make, and nothing left over from another test."""

import hashlib
import os
from collections.abc import Iterator

import psycopg
import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from psycopg import sql
from pytest_django import DjangoDbBlocker
from pytest_django.plugin import blocking_manager_key

TEMPLATE = "template_countinghouse_"
# The plans and packs that migrations put on offer.
_offers: list[dict[str, object]] = []


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Give each worker a clone of one migrated template, which is built only when migrations have changed."""
    name = "test_{}".format(os.environ.get("PYTEST_XDIST_WORKER", "main"))
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(1)")
        with django_db_blocker.unblock():
            template = _template(server)
        _drop(server, name)
        _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
        server.execute("SELECT pg_advisory_unlock(1)")
        connection.close()
        connection.settings_dict["NAME"] = name
        with django_db_blocker.unblock():
            offered = [apps.get_model("billing", model).objects.all() for model in ("Plan", "CreditPack")]
            _offers[:] = [row for rows in offered for row in serializers.serialize("python", rows)]
        yield
        with django_db_blocker.unblock():
            connection.close()
        _drop(server, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Put plans and packs back after a test that commits, which leaves all tables empty."""
    yield
    if nextitem is None:  # the database is gone as well
        return
    marker = item.get_closest_marker("django_db")
    fixtures = getattr(item, "fixturenames", [])
    if "transactional_db" in fixtures or (marker and marker.kwargs.get("transaction")):
        with item.config.stash[blocking_manager_key].unblock():
            for row in serializers.deserialize("python", _offers):
                row.save()
            connection.close()


@pytest.fixture(autouse=True)
def clean_redis() -> Iterator[redis.Redis]:
    """Return a client of this worker's Redis database, emptied before each test."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
        yield client


def _template(server: psycopg.Connection) -> str:
    name = TEMPLATE + _fingerprint()
    known = [row[0] for row in server.execute("SELECT datname FROM pg_database").fetchall()]
    if name not in known:
        for old in known:
            if old.startswith(TEMPLATE):
                _drop(server, old)
        draft = f"{TEMPLATE}draft"
        _execute(server, "CREATE DATABASE {}", draft)
        connection.close()
        connection.settings_dict["NAME"] = draft
        # dj-stripe's own migrations take most of a minute and refer to our organization: ours first, then its
        # tables as its models say.
        with override_settings(MIGRATION_MODULES={"djstripe": None}):
            call_command("migrate", verbosity=0)
            call_command("migrate", run_syncdb=True, verbosity=0)
        connection.close()
        _execute(server, "ALTER DATABASE {} RENAME TO {}", draft, name)
    return name


def _fingerprint() -> str:
    """Return a digest of what the template follows from: our migrations and the libraries' versions."""
    sources = [settings.BASE_DIR / "requirements.txt", *sorted(settings.BASE_DIR.glob("*/migrations/*.py"))]
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def _drop(server: psycopg.Connection, name: str) -> None:
    _execute(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _execute(server: psycopg.Connection, statement: str, *names: str) -> None:
    server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
