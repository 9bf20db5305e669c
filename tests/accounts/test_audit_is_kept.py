"""An audit row stays as it was written, whoever tries to change it and by whatever means."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from accounts.models import AuditEntry, Organization, User

pytestmark = pytest.mark.usefixtures("organization")


def erasing() -> None:
    """What `accounts.erasure` says in its transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL countinghouse.erasing = 'yes'")


def kept() -> list[Any]:
    return list(AuditEntry.objects.values())


def test_a_row_cannot_be_saved_again() -> None:
    entry = AuditEntry.objects.get()
    entry.actor_name = "nobody"

    with pytest.raises(IntegrityError, match="The audit trail is never changed"), transaction.atomic():
        entry.save()

    assert AuditEntry.objects.get().actor_name == "olivia@example.com"


@pytest.mark.parametrize("erasure", [False, True])
def test_rows_cannot_be_deleted(erasure: bool) -> None:
    before = kept()

    with pytest.raises(IntegrityError, match="The audit trail is never changed"), transaction.atomic():
        if erasure:
            erasing()
        AuditEntry.objects.all().delete()

    assert kept() == before


@pytest.mark.parametrize("field", [field.attname for field in AuditEntry._meta.concrete_fields[1:]])
def test_no_column_can_be_updated(field: str) -> None:
    before = kept()
    value = before[0][field]

    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEntry.objects.update(**{field: value})

    assert kept() == before


def test_an_erasure_blanks_names_and_values() -> None:
    blank: dict[str, Any] = {
        "actor_name": "",
        "organization_name": "",
        "target_name": "",
        "ip": None,
        "before": {},
        "after": {},
    }

    with transaction.atomic():
        erasing()
        AuditEntry.objects.update(**blank)

    assert kept()[0].items() >= blank.items()


@pytest.mark.parametrize(
    "changes", [{"action": "x"}, {"target_uid": "x"}, {"actor_id": None, "actor_name": ""}]
)
def test_an_erasure_changes_nothing_else(changes: dict[str, object]) -> None:
    before = kept()

    with pytest.raises(IntegrityError), transaction.atomic():
        erasing()
        AuditEntry.objects.update(**changes)

    assert kept() == before


@pytest.mark.django_db(transaction=True)
def test_an_erasure_ends_with_its_transaction() -> None:
    with transaction.atomic():
        erasing()

    with pytest.raises(IntegrityError):
        AuditEntry.objects.update(ip=None)


def test_deleting_whom_it_names_leaves_it(organization: Organization, owner: User) -> None:
    before = kept()

    organization.delete()
    owner.delete()

    assert kept() == before


@pytest.mark.django_db(transaction=True)
def test_a_test_database_can_be_emptied() -> None:
    call_command("flush", interactive=False, verbosity=0)

    assert not AuditEntry.objects.exists()
