"""“Why is this call refused?”: the answer of now with its facts, by a key, its id or verify's own answer."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Membership, Organization, User
from billing import access
from config import staff_groups
from tests.conftest import colleague, sign_in_verified
from usage import verify
from usage.models import Entitlement, SpendCap

URL = "/admin/why-refused/"
Ask = Callable[..., str]
AGES_AGO = timezone.now() - timedelta(days=3)


@pytest.fixture
def ask(back_office: Client) -> Ask:
    """Ask as the form does, and read the page that it leads to."""

    def read(asked: str, **given: str) -> str:
        response = back_office.post(URL, {"asked": asked, **given}, follow=True)
        assert response.status_code == 200, response.content
        return " ".join(response.content.decode().split())

    return read


def led_to(client: Client, asked: str, **given: str) -> dict[str, str]:
    """The query of the address that the form leads to."""
    response = client.post(URL, {"asked": asked, **given})
    assert response.status_code == 302, response.content
    return {name: values[0] for name, values in parse_qs(urlsplit(response["Location"]).query).items()}


# ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("around", ["{}", " {}\n", "Bearer {}", '{{"key": "{}"}}'])
def test_a_key_is_led_to_by_its_id(
    back_office: Client, organization_key: tuple[ApiKey, str], around: str
) -> None:
    key, secret = organization_key

    assert led_to(back_office, around.format(secret)) == {"key": key.uid}


def test_what_the_call_was_like_goes_along(back_office: Client, organization_key: tuple[ApiKey, str]) -> None:
    uid = organization_key[0].uid

    assert led_to(back_office, uid, ip="203.0.113.9", cost="3") == {
        "key": uid,
        "ip": "203.0.113.9",
        "cost": "3",
    }


def test_an_answer_of_verify_names_its_key_and_what_it_was(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    uid = organization_key[0].uid
    answer = {"valid": False, "code": "EXPIRED", "api_key_id": uid, "organization_id": "org_x"}

    assert led_to(back_office, json.dumps(answer)) == {"key": uid, "code": "EXPIRED"}


def test_an_answer_without_a_key_leads_to_its_organization(
    back_office: Client, organization: Organization
) -> None:
    answer = {"code": "VALID", "organization_id": organization.uid}

    assert led_to(back_office, json.dumps(answer)) == {"organization": organization.uid, "code": "VALID"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("ch_production_" + "a" * 38, "mistyped, or cut off"),
        ("ch_production_abcd", "mistyped, or cut off"),
        ("some-other-key-1234", "no key of ours"),
        (json.dumps(verify.NOT_FOUND), "names no key"),
        ("{", "names no key"),
        ('{"a":' * 3000, "names no key"),
        ('{"code": ["x"], "api_key_id": 3}', "names no key"),
        ("key_nobody", "no key, and no organization"),
        ("org_nobody", "no key, and no organization"),
    ],
)
def test_what_names_no_key_is_told_with_what_it_means(ask: Ask, asked: str, words: str) -> None:
    assert words in ask(asked)


def test_a_key_that_nobody_was_given(ask: Ask, organization_key: tuple[ApiKey, str]) -> None:
    ApiKey.objects.all().delete()

    assert "never given to anybody" in ask(organization_key[1])


def test_a_service_key_is_no_customers(ask: Ask, service_key: tuple[ApiKey, str]) -> None:
    assert "This is a service key" in ask(service_key[1])


@pytest.mark.parametrize(
    "query", ["key=a%00b", "organization=%00", "key=key_x&ip=x&cost=y", "outcome=x", "cost=1e999"]
)
def test_any_address_is_answered(back_office: Client, query: str) -> None:
    assert back_office.get(f"{URL}?{query}").status_code == 200


# ── What is answered ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_key_that_may_call(ask: Ask, organization_key: tuple[ApiKey, str]) -> None:
    page = ask(organization_key[1])

    assert "It is allowed now." in page
    assert page.count("> passes <") == 15


def change_key(**fields: Any) -> Callable[[ApiKey], object]:
    return lambda key: ApiKey.objects.filter(pk=key.pk).update(**fields)


def change_entitlement(**fields: Any) -> Callable[[ApiKey], object]:
    return lambda key: Entitlement.objects.filter(pk=key.organization_id).update(**fields)


@pytest.mark.parametrize(
    ("change", "code", "words", "place"),
    [
        (change_key(revoked_at=AGES_AGO), "REVOKED", "Revoked 3 days ago", "accounts/apikey"),
        (
            lambda key: Organization.objects.update(deleted_at=timezone.now()),
            "REVOKED",
            "Its organization was deleted",
            "accounts/organization",
        ),
        (change_key(disabled_at=AGES_AGO), "DISABLED", "Disabled 3 days ago", "accounts/apikey"),
        (
            change_key(expires_at=AGES_AGO),
            "EXPIRED",
            "Expired 3 days ago",
            "accounts/apikey",
        ),
        (
            change_entitlement(may_call=False, reason="A payment has failed."),
            "SUSPENDED",
            "The customer is told: A payment has failed.",
            "billing/billingaccount",
        ),
        (lambda key: Membership.objects.all().delete(), "FORBIDDEN", "olivia@example.com", "accounts/user"),
        (change_key(scopes=["usage"]), "FORBIDDEN", "jobs is not among them", "accounts/apikey"),
        (
            change_key(allowed_ips=["198.51.100.0/24"]),
            "FORBIDDEN",
            "203.0.113.9 is not in 198.51.100.0/24",
            "accounts/apikey",
        ),
        (
            change_entitlement(spend_cap_reached_until=timezone.now() + timedelta(days=9)),
            "SPEND_CAP_REACHED",
            "The cap is $50.00 a month",
            "usage/spendcap",
        ),
        (
            change_key(
                budget_reached_until=timezone.now() + timedelta(days=9), monthly_credit_budget=Decimal(20)
            ),
            "BUDGET_EXCEEDED",
            "It has used 0 of 20 credits this month",
            "accounts/apikey",
        ),
        (
            change_entitlement(credits_ceiling=0),
            "OUT_OF_CREDITS",
            "0 left, and 3 needed. Calls end with them.",
            "billing/billingaccount",
        ),
        (
            change_entitlement(requests_per_minute=0),
            "RATE_LIMITED",
            "0 of 0 are free",
            "billing/entitlementoverride",
        ),
    ],
)
def test_each_refusal_is_explained_and_leads_to_where_it_is_changed(
    ask: Ask,
    organization_key: tuple[ApiKey, str],
    change: Callable[[ApiKey], object],
    code: str,
    words: str,
    place: str,
) -> None:
    key, secret = organization_key
    SpendCap.objects.create(organization_id=key.organization_id or 0, amount=Decimal(50))
    change(key)

    page = ask(secret, ip="203.0.113.9", cost="3")

    assert f"It is refused now: {code}" in page
    assert words in page
    of_checks = page[page.index("It is refused now") :]
    assert f'href="/admin/{place}' in of_checks
    now = timezone.now()
    assert verify.verify(secret, cost=Decimal(3), ip="203.0.113.9", now=now)["code"] == code


def test_a_suspension_says_by_whom_and_why(
    ask: Ask, organization_key: tuple[ApiKey, str], organization: Organization, staff: User
) -> None:
    access.agree(
        organization=organization, reason="Abuse is looked into", actor=Actor(staff), is_suspended=True
    )

    page = ask(organization_key[1])

    assert "Suspended by stella@example.com" in page
    assert "Abuse is looked into" in page


def test_without_credits_nobody_is_suspended(ask: Ask, organization_key: tuple[ApiKey, str]) -> None:
    Entitlement.objects.update(credits_ceiling=0)

    assert "Its organization is not suspended." in ask(organization_key[1], cost="3")


def test_the_first_refusal_is_the_answer_and_the_others_follow(
    ask: Ask, organization_key: tuple[ApiKey, str]
) -> None:
    ApiKey.objects.update(disabled_at=timezone.now(), scopes=[])

    page = ask(organization_key[1])

    assert "It is refused now: DISABLED" in page
    assert page.count("would refuse too") == 1
    assert page.count("> passes <") == 2


def test_the_secret_before_a_rotation_is_known_as_that(
    back_office: Client, ask: Ask, organization_key: tuple[ApiKey, str]
) -> None:
    key, old = organization_key
    keys.rotate(key=key, grace=keys.GRACES["now"], actor=None)

    assert led_to(back_office, old) == {"key": key.uid, "secret": "old"}
    assert "It is refused now: EXPIRED" in ask(old)
    assert "It is allowed now" in ask(key.uid)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("OUT_OF_CREDITS", "It was OUT_OF_CREDITS then; now it is allowed."),
        ("VALID", "That is what the answer said as well."),
    ],
)
def test_the_answer_of_then_is_held_against_now(
    ask: Ask, organization_key: tuple[ApiKey, str], then: str, words: str
) -> None:
    assert words in ask(json.dumps({"code": then, "api_key_id": organization_key[0].uid}))


def test_a_code_that_changed_is_told(ask: Ask, organization_key: tuple[ApiKey, str]) -> None:
    ApiKey.objects.update(disabled_at=timezone.now())

    page = ask(json.dumps({"code": "VALID", "api_key_id": organization_key[0].uid}))

    assert "It was VALID then; now it is DISABLED." in page


def test_an_organizations_keys_are_listed_with_their_codes(
    back_office: Client, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    keys.create_organization_key(organization=organization, name="other", actor=None)
    ApiKey.objects.filter(name="other").update(disabled_at=timezone.now())

    page = back_office.get(URL, {"organization": organization.uid}).content.decode()

    assert f"?key={organization_key[0].uid}" in page
    assert "DISABLED" in page
    assert "allowed" in page


# ── What it does not do ──────────────────────────────────────────────────────────────────────────────────────
def test_no_key_is_on_a_page_in_an_address_or_in_the_log(
    back_office: Client, organization_key: tuple[ApiKey, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = organization_key[1]
    answers = [
        back_office.post(URL, {"asked": asked, "ip": ip}, follow=True)
        for asked in (secret, secret[:-1])
        for ip in ("", "no address")
    ]

    assert [answer.status_code for answer in answers] == [200, 400, 200, 400]
    seen = caplog.text + "".join(str(answer.redirect_chain) + answer.content.decode() for answer in answers)
    assert secret[:-1] not in seen


def test_it_changes_nothing_and_is_read_past_what_is_kept(
    ask: Ask, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    verify.verify(secret, cost=Decimal(0), ip=None, now=timezone.now())
    before = ApiKey.objects.values().get(pk=key.pk), AuditEntry.objects.count()
    first = ask(secret)
    assert (ApiKey.objects.values().get(pk=key.pk), AuditEntry.objects.count()) == before

    ApiKey.objects.update(disabled_at=timezone.now())  # by hand, which no cache could know

    assert "It is allowed now." in first
    assert "It is refused now: DISABLED" in ask(secret)


def test_many_keys_are_no_more_queries(back_office: Client, organization: Organization) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            back_office.get(URL, {"organization": organization.uid})
        return len(asked)

    keys.create_organization_key(organization=organization, name="x", actor=None)
    queries()  # the first looks up what is then known
    few = queries()
    for _ in range(5):
        keys.create_organization_key(organization=organization, name="x", actor=None)

    assert queries() == few


# ── Who may ask, and from where ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("groups", "status"), [((staff_groups.SUPPORT,), 200), ((staff_groups.ENGINEER,), 200), ((), 403)]
)
def test_it_is_for_who_may_see_keys(db: None, groups: tuple[str, ...], status: int) -> None:
    client = Client()
    sign_in_verified(client, colleague("Sam", *groups))

    assert client.get(URL).status_code == status
    assert client.post(URL, {"asked": "key_x"}, follow=True).status_code == status
    assert (URL in client.get("/admin/").content.decode()) == (status == 200)


def test_a_place_that_a_colleague_may_not_open_is_not_linked(
    organization_key: tuple[ApiKey, str], organization: Organization
) -> None:
    somebody = colleague("Sam")
    somebody.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    client = Client()
    sign_in_verified(client, somebody)
    Entitlement.objects.update(may_call=False)

    page = client.get(URL, {"key": organization_key[0].uid}).content.decode()

    assert "It is refused now: SUSPENDED" in page
    assert "/admin/billing/" not in page


def test_keys_and_organizations_lead_there(
    back_office: Client, organization_key: tuple[ApiKey, str], organization: Organization
) -> None:
    key = organization_key[0]
    of_key = back_office.get(f"/admin/accounts/apikey/{key.pk}/why_refused/")
    of_organization = back_office.get(f"/admin/accounts/organization/{organization.pk}/why_refused/")

    assert of_key["Location"] == f"{URL}?key={key.uid}"
    assert of_organization["Location"] == f"{URL}?organization={organization.uid}"
