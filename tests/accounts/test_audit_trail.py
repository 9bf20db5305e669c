"""Reading the audit trail of an organization: what members see of it, by which filters, and how."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import audit, audit_trail, keys, organizations
from accounts.audit import Action, Actor
from accounts.audit_trail import Filters, Line
from accounts.models import ApiKey, Organization, User


def read(organization: Organization, limit: int = 100, **filters: Any) -> list[Line]:
    return audit_trail.page(organization, filters=Filters(**filters), limit=limit).lines


def note(organization: Organization, action: Action = Action.ORGANIZATION_UPDATED, **values: Any) -> None:
    audit.record(action, organization=organization, **({"actor": None, "target": organization} | values))


def test_the_newest_comes_first(organization: Organization) -> None:
    note(organization)

    actions = [line.action for line in read(organization)]

    assert actions == ["organization.updated", "organization.created"]


def test_another_organizations_entries_are_not_in_it(
    organization: Organization, other_organization: Organization
) -> None:
    [line] = read(organization)

    assert line.target == "Northwind"


@pytest.mark.parametrize("moments", [[0] * 7, range(7)])
def test_pages_follow_each_other_without_gap_or_overlap(
    organization: Organization, moments: list[int]
) -> None:
    start = datetime(2026, 6, 18, tzinfo=UTC)
    for number in moments:
        with time_machine.travel(start + timedelta(seconds=number), tick=False):
            note(organization)

    seen, place = [], None
    while True:
        page = audit_trail.page(organization, filters=Filters(), limit=3, older_than=place)
        seen += page.lines
        place = page.older
        if place is None:
            break

    assert seen == read(organization)
    assert len({line.id for line in seen}) == 8


def test_a_full_last_page_has_none_after_it(organization: Organization) -> None:
    page = audit_trail.page(organization, filters=Filters(), limit=1)

    assert (len(page.lines), page.older) == (1, None)


def test_a_page_is_one_query(organization: Organization, owner: User) -> None:
    for _ in range(5):
        note(organization, actor=Actor(owner))

    with CaptureQueriesContext(
        connection,
    ) as queries:
        read(organization)

    assert len(queries) == 1


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ("api_key.revoked", ["api_key.revoked"]),
        ("api_key.*", ["api_key.revoked", "api_key.created"]),
        ("member.*", []),
        ("api_key", []),
        ("%.*", []),
    ],
)
def test_an_action_or_a_group_of_them(
    organization: Organization, organization_key: tuple[ApiKey, str], action: str, found: list[str]
) -> None:
    keys.revoke(key=organization_key[0], actor=None)

    assert [line.action for line in read(organization, action=action)] == found


def test_an_actor_by_name_address_or_id(organization: Organization, owner: User, member: User) -> None:
    note(organization, actor=Actor(member))

    for asked in (member.uid, "mia@example.com", "MIA@", "Mia"):
        [line] = read(organization, actor=asked)
        assert (line.actor, line.actor_id) == ("mia@example.com", member.uid)
    assert not read(organization, actor="_ia")


def test_what_was_done_with_a_key(
    organization: Organization, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    key = organization_key[0]
    note(organization, actor=Actor(None, api_key=key))

    [line] = read(organization, actor=key.uid)

    assert (line.actor, line.actor_id, line.api_key_id) == (str(key), None, key.uid)


def test_what_happened_to_something(organization: Organization, organization_key: tuple[ApiKey, str]) -> None:
    key = organization_key[0]

    assert [line.action for line in read(organization, target=key.uid)] == ["api_key.created"]


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (None, None, 3),
        (date(2026, 6, 18), date(2026, 6, 18), 1),
        (date(2026, 6, 18), None, 2),
        (None, date(2026, 6, 18), 2),
        (date.min, date.max, 3),
    ],
)
def test_days_are_the_organizations(owner: User, since: date | None, until: date | None, found: int) -> None:
    with time_machine.travel(datetime(2026, 6, 18, 3, 59, tzinfo=UTC), tick=False):  # still the 17th there
        organization = organizations.create(name="Northwind", owner=owner, time_zone="America/New_York")
    for moment in (datetime(2026, 6, 18, 4, tzinfo=UTC), datetime(2026, 6, 19, 4, tzinfo=UTC)):
        with time_machine.travel(moment, tick=False):
            note(organization)

    assert len(read(organization, since=since, until=until)) == found


def test_of_the_staff_members_learn_only_that_it_was_support(organization: Organization, staff: User) -> None:
    note(organization, actor=Actor(staff, ip="203.0.113.7"))

    line = read(organization)[0]

    assert (line.actor, line.actor_id, line.ip) == ("Countinghouse support", None, None)
    assert read(organization, actor="support") == [line]
    for told in (staff.email, staff.uid, "stella", "Stella"):
        assert not read(organization, actor=told)


def test_the_entry_itself_knows_who_of_the_staff_it_was(organization: Organization, staff: User) -> None:
    note(organization, actor=Actor(staff, ip="203.0.113.7"))

    entry = organization.audit_entries.newest_first()[0]

    assert (entry.by_staff, entry.actor, entry.actor_name, entry.ip) == (
        True,
        staff,
        staff.email,
        "203.0.113.7",
    )


def test_a_member_who_is_on_the_staff_besides_has_their_name(organization: Organization, owner: User) -> None:
    owner.is_staff = True
    owner.save()

    note(organization, actor=Actor(owner))

    assert read(organization)[0].actor == owner.email


def test_names_are_read_where_people_and_organizations_are_gone(
    organization: Organization, owner: User
) -> None:
    owner.delete()
    Organization.objects.filter(pk=organization.pk).delete()

    [line] = read(organization)

    assert (line.actor, line.actor_id, line.target) == ("olivia@example.com", None, "Northwind")


def test_the_file_has_a_column_for_each_thing_a_line_has(organization: Organization, owner: User) -> None:
    header, first = audit_trail.csv(organization, filters=Filters())

    assert header == (
        "id,created_at,action,actor_id,actor,api_key_id,target_type,target_id,target,ip,before,after\r\n"
    )
    assert f",organization.created,{owner.uid},olivia@example.com,," in first
    assert first.endswith(',,{},"{""name"": ""Northwind"", ""owner"": ""olivia@example.com""}"\r\n')


@pytest.mark.django_db(transaction=True)
def test_the_file_is_read_a_part_at_a_time(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "READ_AT_ONCE", 2)
    for _ in range(5):
        note(organization)

    with CaptureQueriesContext(connection) as queries:
        lines = list(audit_trail.csv(organization, filters=Filters()))

    assert len(lines) == 7
    assert any("DECLARE" in query["sql"] for query in queries)
