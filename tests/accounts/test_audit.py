from collections.abc import Iterator
from typing import Any

import pytest

from accounts import audit, keys
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Organization, User


class Refused(Exception):
    pass


@pytest.fixture
def refusing_receiver() -> Iterator[None]:
    def refuse(**_: Any) -> None:
        raise Refused

    audit.recorded.connect(refuse)
    yield
    audit.recorded.disconnect(refuse)


@pytest.fixture
def heard() -> Iterator[list[tuple[AuditEntry, object]]]:
    notices: list[tuple[AuditEntry, object]] = []

    def hear(entry: AuditEntry, target: object, **_: Any) -> None:
        notices.append((entry, target))

    audit.recorded.connect(hear)
    yield notices
    audit.recorded.disconnect(hear)


@pytest.mark.usefixtures("refusing_receiver")
@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_undoes_the_change() -> None:
    with pytest.raises(Refused):
        keys.create_service_key(name="data plane")

    assert not ApiKey.objects.exists()
    assert not AuditEntry.objects.exists()


def test_receivers_get_the_entry_and_what_it_is_about(
    organization: Organization, owner: User, heard: list[tuple[AuditEntry, object]]
) -> None:
    key, _ = keys.create_organization_key(organization=organization, name="k", actor=Actor(owner))

    [(entry, target)] = heard
    assert entry.action == audit.Action.API_KEY_CREATED
    assert target == key


def test_names_survive_whom_they_name(organization: Organization, owner: User) -> None:
    audit.record(
        audit.Action.ORGANIZATION_UPDATED, actor=Actor(owner), organization=organization, target=organization
    )

    organization.delete()
    owner.delete()

    entry = AuditEntry.objects.select_related("actor", "organization").newest_first()[0]
    assert (entry.organization, entry.actor) == (None, None)
    assert (entry.organization_name, entry.actor_name) == ("Northwind", "olivia@example.com")
    assert (entry.target_type, entry.target_name) == ("organization", "Northwind")


def test_what_nobody_did_was_done_by_the_system(organization: Organization) -> None:
    entry = audit.record(audit.Action.ORGANIZATION_UPDATED, actor=None, target=organization)

    assert (entry.actor, entry.actor_name) == (None, "system")


def test_a_long_target_name_is_cut_rather_than_refused(staff: User) -> None:
    staff.email = "x" * 300

    entry = audit.record(audit.Action.USER_UPDATED, actor=None, target=staff)

    assert len(entry.target_name) == 254
