"""Every verdict on a key, and the limits behind two of them."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import keys, prepared
from accounts.audit import Actor
from accounts.models import ApiKey, Membership, Organization, User
from tests.usage.counts import unlimited
from usage import verify as verification
from usage.models import Entitlement

URL = "/api/v1/gateway/verify"
Verify = Callable[..., dict[str, Any]]


@pytest.fixture
def verify(data_plane: Client) -> Verify:
    def post(key: str, **fields: Any) -> dict[str, Any]:
        response = data_plane.post(URL, {"key": key, **fields}, content_type="application/json")
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = response.json()
        return answer

    return post


@pytest.fixture
def entitled(organization: Organization) -> Callable[..., None]:
    """Change what the organization may do now."""

    def change(**fields: Any) -> None:
        Entitlement.objects.filter(organization=organization).update(**fields)

    return change


def test_a_good_key_is_valid_and_says_whose_it_is(
    verify: Verify, organization_key: tuple[ApiKey, str], organization: Organization
) -> None:
    key, secret = organization_key

    answer = verify(secret, product="parse", cost=4, ip="192.0.2.7")

    assert answer.pop("rate_limit")["limit"] == 10
    assert answer == {
        "valid": True,
        "code": "VALID",
        "organization_id": organization.uid,
        "api_key_id": key.uid,
        "environment": "production",
        "scopes": ["jobs", "usage", "webhooks"],
        "plan": "pay_as_you_go",
        "credits": {"remaining": 100.0},
    }


@pytest.mark.parametrize(
    "key", ["", "x", "ch_production_" + "0" * 38, "é" * 50, "a" * 10_000, "ch_production_\0"]
)
def test_unknown_and_malformed_keys_are_not_found_and_the_rest_null(verify: Verify, key: str) -> None:
    answer = verify(key)

    assert (answer.pop("valid"), answer.pop("code")) == (False, "NOT_FOUND")
    assert answer and set(answer.values()) == {None}


def test_a_service_key_is_nobodys_key(verify: Verify, service_key: tuple[ApiKey, str]) -> None:
    assert verify(service_key[1])["code"] == "NOT_FOUND"


def test_a_revoked_key_is_refused_from_the_moment_on(
    verify: Verify, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    key, secret = organization_key
    assert verify(secret)["valid"]

    keys.revoke(key=key, actor=Actor(owner))

    assert verify(secret)["code"] == "REVOKED"


def test_a_disabled_key_is_refused(verify: Verify, organization_key: tuple[ApiKey, str]) -> None:
    ApiKey.objects.filter(pk=organization_key[0].pk).update(disabled_at=timezone.now())

    assert verify(organization_key[1])["code"] == "DISABLED"


def test_an_expired_key_is_refused(verify: Verify, organization_key: tuple[ApiKey, str]) -> None:
    ApiKey.objects.filter(pk=organization_key[0].pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    assert verify(organization_key[1])["code"] == "EXPIRED"


def test_a_suspended_organization_is_refused(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(may_call=False)

    assert verify(organization_key[1])["code"] == "SUSPENDED"


def test_a_key_without_the_scope_for_jobs_is_forbidden(verify: Verify, organization: Organization) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="x", actor=None, scopes=["usage"]
    )

    assert verify(secret)["code"] == "FORBIDDEN"


def test_the_personal_key_of_somebody_removed_is_forbidden(
    verify: Verify, member: User, organization: Organization
) -> None:
    _, secret = keys.create_personal_key(user=member, organization=organization, name="laptop")
    assert verify(secret)["valid"]

    Membership.objects.filter(user=member).delete()

    assert verify(secret)["code"] == "FORBIDDEN"


def test_a_personal_key_needs_its_owner_to_be_a_member_whoever_made_it(
    verify: Verify, personal_key: tuple[ApiKey, str]
) -> None:
    ApiKey.objects.update(created_by=None)
    Membership.objects.all().delete()

    assert verify(personal_key[1])["code"] == "FORBIDDEN"


def test_the_key_of_a_maker_who_left_is_forbidden(
    verify: Verify, admin: User, organization: Organization
) -> None:
    _, secret = keys.create_organization_key(organization=organization, name="x", actor=Actor(admin))
    assert verify(secret)["valid"]

    Membership.objects.filter(user=admin).delete()

    assert verify(secret)["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("ip", "code"),
    [
        ("192.0.2.7", "VALID"),
        ("::ffff:192.0.2.7", "VALID"),
        ("2001:db8::5", "VALID"),
        ("192.0.3.7", "FORBIDDEN"),
        ("2001:db9::5", "FORBIDDEN"),
        (None, "FORBIDDEN"),
    ],
)
def test_a_key_with_networks_is_for_calls_from_there(
    verify: Verify, organization: Organization, ip: str | None, code: str
) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="x", actor=None, allowed_ips=["192.0.2.0/24", "2001:db8::/64"]
    )

    assert verify(secret, ip=ip)["code"] == code


def test_networks_count_from_the_moment_they_are_set(
    verify: Verify, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    assert verify(secret, ip="192.0.2.7")["valid"]

    keys.update(key=key, changes={"allowed_ips": ["198.51.100.1"]}, actor=None)

    assert verify(secret, ip="192.0.2.7")["code"] == "FORBIDDEN"


def test_a_rotated_keys_old_secret_expires_with_its_grace(
    verify: Verify, organization_key: tuple[ApiKey, str]
) -> None:
    key, old = organization_key
    new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)
    during = verify(old), verify(new)

    keys.end_grace(key=key, actor=None)

    assert [answer["code"] for answer in during] == ["VALID", "VALID"]
    assert {answer["api_key_id"] for answer in during} == {key.uid}
    assert (verify(old)["code"], verify(new)["code"]) == ("EXPIRED", "VALID")


def test_a_key_rotated_away_at_once_has_expired(verify: Verify, organization_key: tuple[ApiKey, str]) -> None:
    keys.rotate(key=organization_key[0], grace=keys.GRACES["now"], actor=None)

    assert verify(organization_key[1])["code"] == "EXPIRED"


def test_a_key_switched_off_and_on_works_again(verify: Verify, organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key
    keys.disable(key=key, actor=None)
    assert verify(secret)["code"] == "DISABLED"

    keys.enable(key=key, actor=None)

    assert verify(secret)["code"] == "VALID"


def test_the_keys_of_a_deleted_organization_are_revoked(
    verify: Verify, organization_key: tuple[ApiKey, str], personal_key: tuple[ApiKey, str]
) -> None:
    Organization.objects.update(deleted_at=timezone.now())

    assert {verify(secret)["code"] for _, secret in (organization_key, personal_key)} == {"REVOKED"}


@pytest.mark.parametrize("fields", [{"is_active": False}, {"deleted_at": timezone.now()}])
def test_the_personal_key_of_somebody_gone_is_forbidden(
    verify: Verify, personal_key: tuple[ApiKey, str], fields: dict[str, Any]
) -> None:
    User.objects.update(**fields)

    assert verify(personal_key[1])["code"] == "FORBIDDEN"


def test_an_imported_key_is_verified_like_any_other(verify: Verify, organization: Organization) -> None:
    sha256 = hashlib.sha256(b"sk_live_4242424242424242").hexdigest()
    keys.create_imported_key(organization=organization, sha256=sha256, name="legacy", actor=None)

    assert verify("sk_live_4242424242424242")["code"] == "VALID"
    assert verify(sha256)["code"] == "NOT_FOUND"


def test_a_budget_that_is_used_up_refuses_until_its_month_ends(
    verify: Verify, organization_key: tuple[ApiKey, str]
) -> None:
    ApiKey.objects.update(budget_reached_until=timezone.now() + timedelta(days=3))
    before = verify(organization_key[1])["code"]

    ApiKey.objects.update(budget_reached_until=timezone.now())

    assert (before, verify(organization_key[1])["code"]) == ("BUDGET_EXCEEDED", "VALID")


def test_one_query_answers_whatever_the_key_is_given(
    organization: Organization, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, secret = keys.create_organization_key(
        organization=organization,
        name="x",
        actor=None,
        allowed_ips=["192.0.2.0/24"],
        requests_per_minute=5,
        monthly_credit_budget=Decimal(5),
    )
    asked: list[object] = []
    fetch = prepared.fetch

    def counted(*query: Any) -> list[Any]:
        asked.append(query)
        return fetch(*query)

    with django_assert_num_queries(0), pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "fetch", counted)
        answer = verification.verify(secret, cost=Decimal(0), ip="192.0.2.1", now=timezone.now())

    assert (answer["code"], len(asked)) == ("VALID", 1)


@pytest.mark.parametrize(("left", "cost"), [(0, None), (-5, None), (3, 4), (0, 0)])
def test_without_the_credits_the_key_is_refused(
    verify: Verify,
    organization_key: tuple[ApiKey, str],
    entitled: Callable[..., None],
    left: int,
    cost: int | None,
) -> None:
    entitled(credits_ceiling=1000 + left, credits_used=1000)

    answer = verify(organization_key[1], cost=cost)

    assert answer["code"] == "OUT_OF_CREDITS"
    assert answer["credits"] == {"remaining": max(left, 0)}


def test_cost_is_checked_and_not_reserved(verify: Verify, organization_key: tuple[ApiKey, str]) -> None:
    codes = [verify(organization_key[1], cost=100)["code"] for _ in range(2)]

    assert codes == ["VALID", "VALID"]


def test_overage_goes_on_without_credits(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(overage_allowed=True, credits_used=Decimal(10_000))

    assert verify(organization_key[1])["valid"]


def test_nothing_limits_credits_without_a_ceiling(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(credits_ceiling=None)

    answer = verify(organization_key[1])

    assert (answer["valid"], answer["credits"]) == (True, {"remaining": None})


def test_a_reached_spend_cap_refuses(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(spend_cap_reached_until=timezone.now() + timedelta(minutes=1))

    assert verify(organization_key[1])["code"] == "SPEND_CAP_REACHED"


def test_the_spend_cap_of_a_month_that_is_over_lets_calls_through(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(spend_cap_reached_until=timezone.now() - timedelta(seconds=1))

    assert verify(organization_key[1])["code"] == "VALID"


def test_the_limit_lets_exactly_so_many_through(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(requests_per_minute=3)

    answers = [verify(organization_key[1]) for _ in range(5)]

    assert [answer["code"] for answer in answers] == ["VALID"] * 3 + ["RATE_LIMITED"] * 2
    assert [answer["rate_limit"]["remaining"] for answer in answers[:3]] == [2, 1, 0]
    assert answers[-1]["rate_limit"]["reset"] > timezone.now().timestamp()


def test_the_limit_is_the_organizations_and_not_the_keys(
    verify: Verify, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    _, second = keys.create_organization_key(organization=organization, name="second", actor=None)
    for _ in range(10):
        verify(organization_key[1])

    assert verify(second)["code"] == "RATE_LIMITED"


def test_a_keys_own_limit_holds_beside_the_organizations(
    verify: Verify, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    _, limited = keys.create_organization_key(
        organization=organization, name="limited", actor=None, requests_per_minute=2
    )

    answers = [verify(limited) for _ in range(4)]

    assert [answer["code"] for answer in answers] == ["VALID"] * 2 + ["RATE_LIMITED"] * 2
    assert [answer["rate_limit"]["limit"] for answer in answers] == [2] * 4
    assert [answer["rate_limit"]["remaining"] for answer in answers] == [1, 0, 0, 0]
    # What the key was refused took nothing from the others.
    assert verify(organization_key[1])["rate_limit"]["remaining"] == 7


def test_the_organizations_limit_is_told_where_it_is_the_tighter_one(
    verify: Verify, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    _, wide = keys.create_organization_key(
        organization=organization, name="wide", actor=None, requests_per_minute=500
    )

    assert verify(wide)["rate_limit"]["limit"] == 10


def test_both_limits_cost_one_question_to_redis(
    verify: Verify, organization: Organization, questions: list[object]
) -> None:
    _, limited = keys.create_organization_key(
        organization=organization, name="limited", actor=None, requests_per_minute=2
    )

    verify(limited)

    assert len(questions) == 1


def test_a_refused_call_takes_nothing_from_the_limit(
    verify: Verify, organization_key: tuple[ApiKey, str], entitled: Callable[..., None]
) -> None:
    entitled(may_call=False)

    remaining = [verify(organization_key[1])["rate_limit"]["remaining"] for _ in range(3)]

    assert remaining == [10, 10, 10]


def test_with_redis_down_calls_go_unlimited_and_are_counted(
    verify: Verify, organization_key: tuple[ApiKey, str], redis_down: None
) -> None:
    before = unlimited()

    answers = [verify(organization_key[1]) for _ in range(12)]

    assert {answer["code"] for answer in answers} == {"VALID"}
    assert unlimited() == before + 12


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("", None),
        ("[]", None),
        ("{}", "key"),
        ('{"key": 5}', "key"),
        ('{"key": null}', "key"),
        ('{"key": "k", "cost": -1}', "cost"),
        ('{"key": "k", "cost": "many"}', "cost"),
        ('{"key": "k", "cost": 1e999}', "cost"),
        ('{"key": "k", "product": "paint"}', "product"),
        ('{"key": "k", "ip": "here"}', "ip"),
        (f'{{"key": "k", "ip": "fe80::1%{"z" * 100}"}}', "ip"),
    ],
)
def test_a_malformed_question_is_a_400_naming_the_field(
    data_plane: Client, body: str, param: str | None
) -> None:
    response = data_plane.post(URL, body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["error"].get("param") == param


def test_a_huge_question_is_refused(data_plane: Client) -> None:
    response = data_plane.post(URL, f'{{"key": "{"k" * 20_000}"}}', content_type="application/json")

    assert response.status_code == 413
