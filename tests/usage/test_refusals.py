"""What the explanation of a refusal says, held against verify's own answer."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, Organization
from usage import known_keys, limits, refusals, verify
from usage.known_keys import Found
from usage.refusals import Subject

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAST, FUTURE = NOW - timedelta(days=3), NOW + timedelta(days=3)
ZERO = Decimal(0)
GOOD = Found(
    pk=1,
    uid="key_1",
    environment="production",
    scopes=["jobs"],
    allowed_ips=[],
    own_limit=None,
    budget_reached_until=None,
    expires_at=None,
    disabled_at=None,
    revoked_at=None,
    old_secret_until=None,
    organization_pk=1,
    organization_uid="org_1",
    organization_deleted_at=None,
    access_version=1,
    plan="pro",
    may_call=True,
    requests_per_minute=10,
    credits=Decimal(100),
    overage_allowed=False,
    spend_cap_reached_until=None,
    owner_is_active=True,
    maker_is_member=True,
    shut_out_from=None,
)
# For each field what it may hold on either side of what decides, and at it.
FIELDS: dict[str, list[Any]] = {
    "revoked_at": [None, PAST],
    "organization_deleted_at": [None, PAST],
    "disabled_at": [None, FUTURE],
    "expires_at": [None, NOW, FUTURE],
    "old_secret_until": [None, NOW, FUTURE],
    "may_call": [True, False],
    "owner_is_active": [True, False],
    "maker_is_member": [True, False],
    "scopes": [["jobs"], []],
    "shut_out_from": [None, NOW, FUTURE],
    "spend_cap_reached_until": [None, NOW, FUTURE],
    "budget_reached_until": [None, NOW, FUTURE],
}
CALLS = [
    {"allowed_ips": allowed, "credits": credits, "overage_allowed": overage, "cost": cost, "ip": ip}
    for allowed, ip, (credits, cost), overage in product(
        [[], ["192.0.2.0/24"]],
        [None, "192.0.2.7", "203.0.113.9"],
        [(None, ZERO), (ZERO, ZERO), (Decimal(-1), ZERO), (Decimal(3), Decimal(3)), (Decimal(3), Decimal(4))],
        [True, False],
    )
]


def combinations() -> Iterator[tuple[Found, Decimal, str | None]]:
    """Every combination of a key's states, each with one of the calls, and every call with a good key."""
    for index, values in enumerate(product(*FIELDS.values())):
        yield _of(dict(zip(FIELDS, values, strict=True)), CALLS[index % len(CALLS)])
    yield from (_of({}, call) for call in CALLS)


def _of(state: dict[str, Any], call: dict[str, Any]) -> tuple[Found, Decimal, str | None]:
    about_call = {name: call[name] for name in ("allowed_ips", "credits", "overage_allowed")}
    return replace(GOOD, **state, **about_call), call["cost"], call["ip"]


def test_the_first_check_that_refuses_has_the_code_that_verify_answers_with() -> None:
    different = []
    for found, cost, ip in combinations():
        answer = verify.refusal(found, found.credits, cost, ip, NOW)
        refusing = refusals.first(refusals.checks(found, cost=cost, ip=ip, now=NOW))
        if (refusing.code if refusing else "") != answer:
            different.append((found, cost, ip, answer, refusing))

    assert different == []


@pytest.mark.parametrize(
    ("state", "subject", "code", "words"),
    [
        ({"revoked_at": PAST}, Subject.REVOCATION, "REVOKED", "Revoked 3 days ago"),
        ({"organization_deleted_at": PAST}, Subject.ORGANIZATION, "REVOKED", "deleted 3 days ago"),
        ({"disabled_at": PAST}, Subject.SWITCH, "DISABLED", "Disabled 3 days ago"),
        ({"expires_at": PAST}, Subject.EXPIRY, "EXPIRED", "Expired 3 days ago, at 2026-02-26 12:00:00 UTC"),
        ({"old_secret_until": PAST}, Subject.SECRET, "EXPIRED", "before its rotation, which stopped 3 days"),
        ({"may_call": False}, Subject.SUSPENSION, "SUSPENDED", "is suspended"),
        ({"owner_is_active": False}, Subject.PERSON, "FORBIDDEN", "switched off or deleted"),
        ({"maker_is_member": False}, Subject.MEMBERSHIP, "FORBIDDEN", "not a member"),
        ({"scopes": ["usage"]}, Subject.SCOPE, "FORBIDDEN", "Its scopes are usage; jobs is not among them"),
        ({"shut_out_from": PAST}, Subject.SECOND_FACTOR, "FORBIDDEN", "has no second factor"),
        (
            {"allowed_ips": ["198.51.100.0/24"]},
            Subject.NETWORK,
            "FORBIDDEN",
            "203.0.113.9 is not in 198.51.100.0/24",
        ),
        ({"spend_cap_reached_until": FUTURE}, Subject.SPEND_CAP, "SPEND_CAP_REACHED", "go on in 3 days"),
        ({"budget_reached_until": FUTURE}, Subject.BUDGET, "BUDGET_EXCEEDED", "go on in 3 days"),
        ({"credits": ZERO}, Subject.CREDITS, "OUT_OF_CREDITS", "0 left, and 3 needed. Calls end with them."),
    ],
    ids=lambda value: value if isinstance(value, Subject) else "",
)
def test_each_refusal_has_its_fact(state: dict[str, Any], subject: Subject, code: str, words: str) -> None:
    found = refusals.checks(replace(GOOD, **state), cost=Decimal(3), ip="203.0.113.9", now=NOW)

    refusing = [check for check in found if check.refuses]
    assert [(check.subject, check.code) for check in refusing] == [(subject, code)]
    assert words in refusing[0].fact


def test_without_an_address_it_says_that_one_is_needed() -> None:
    found = refusals.checks(replace(GOOD, allowed_ips=["198.51.100.0/24"]), cost=ZERO, ip=None, now=NOW)

    refusing = refusals.first(found)
    assert refusing and "type the caller's" in refusing.fact


def test_the_limits_are_looked_at_and_nothing_is_taken_of_them(
    organization_key: tuple[ApiKey, str], organization: Organization
) -> None:
    keys.update(key=organization_key[0], changes={"requests_per_minute": 2}, actor=None)
    found = known_keys.read(organization_key[0].pk)
    assert found
    now = timezone.now()
    for _ in range(3):
        refusals.explain(found, cost=ZERO, ip=None, now=now)
    before = refusals.explain(found, cost=ZERO, ip=None, now=now)

    codes = [verify.answer(found, cost=ZERO, ip=None, now=now, asked_at=0.0)["code"] for _ in range(3)]

    after = refusals.explain(found, cost=ZERO, ip=None, now=now)
    assert (before[-1].fact, refusals.first(before)) == ("2 of 2 are free at this moment.", None)
    assert codes == ["VALID", "VALID", "RATE_LIMITED"]
    refusing = refusals.first(after)
    assert refusing and (refusing.subject, refusing.code) == (Subject.OWN_LIMIT, "RATE_LIMITED")
    assert refusing.fact.startswith("0 of 2 are free")


def test_a_limit_of_nothing_refuses() -> None:
    assert [state.allowed for state in limits.peek([("nobody", 0)])] == [False]


def test_what_is_read_is_what_a_call_finds_and_is_not_kept(organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key

    found = known_keys.read(key.pk)

    assert known_keys.recall(secret, clock=0.0) is None
    assert found == known_keys.find(secret)


def test_the_secret_before_a_rotation_is_told_from_the_present_one(
    organization_key: tuple[ApiKey, str],
) -> None:
    key, old = organization_key
    new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)

    assert known_keys.read(key.pk) == known_keys.find(new)
    assert known_keys.read(key.pk, by_old_secret=True) == known_keys.find(old)


def test_a_service_key_is_nobodys(service_key: tuple[ApiKey, str]) -> None:
    assert known_keys.read(service_key[0].pk) is None
