"""Billing by REST: what the pages say, as numbers, for whoever may see it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import keys
from accounts.audit import Actor
from accounts.models import Organization, User
from accounts.permissions import Scope
from billing import credits
from billing.models import BillingAccount, CreditGrant
from tests.billing.conftest import Use, settle
from tests.billing.pages.rows import invoice, top_up
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import subscribe
from usage import spending


class Api:
    """Calls with a key of the owner's that is made for billing."""

    def __init__(self, secret: str) -> None:
        self._client, self._headers = Client(), {"Authorization": f"Bearer {secret}"}

    def get(self, path: str = "", **query: Any) -> Any:
        return self._client.get(f"/api/v1/billing{path}", query, headers=self._headers)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._client.post(
            f"/api/v1/billing{path}", body, content_type="application/json", headers=self._headers
        )


@pytest.fixture
def api(organization: Organization, owner: User) -> Api:
    _, secret = keys.create_organization_key(
        organization=organization, name="books", scopes=[Scope.BILLING], actor=Actor(owner)
    )
    return Api(secret)


def error(response: Any) -> tuple[int, str, str | None]:
    told = response.json()["error"]
    return response.status_code, told["type"], told.get("param")


def test_a_new_organization_has_free_credits_and_nothing_else(api: Api) -> None:
    found = api.get().json()

    assert found["plan"] == {"id": "pay_as_you_go", "name": "Pay-as-you-go"}
    assert (found["status"], found["interval"], found["may_call"]) == ("prepaid", "", True)
    assert found["credits"]["balance"] == found["credits"]["remaining"] == 100
    assert [found[name] for name in ("overage", "card", "next_invoice", "auto_top_up", "spend_cap")] == [
        None
    ] * 5


def test_what_is_left_is_right_before_it_is_settled(api: Api, rates: None, use: Use) -> None:
    use(30)

    found = api.get().json()["credits"]

    assert (found["balance"], found["unsettled"], found["remaining"]) == (100, 30, 70)
    assert sum(each["left"] for each in found["grants"]) == found["remaining"]


def test_overage_is_told_of_the_period(
    api: Api, organization: Organization, rates: None, pro: BillingAccount, use: Use
) -> None:
    BillingAccount.objects.update(anchor=pro.anchor - timedelta(hours=1))
    use(100_200)
    settle(organization)
    use(50)

    found = api.get().json()

    assert (found["overage"]["credits"], found["overage"]["dollars"]) == (150, 1.5)
    assert (found["credits"]["remaining"], found["credits"]["included_left"]) == (0, 0)
    assert found["credits"]["resets_at"] == found["overage"]["period_end"]


def test_where_nothing_limits_credits_none_are_left(api: Api, pro: BillingAccount) -> None:
    pro.plan.is_unlimited = True
    pro.plan.save()

    assert api.get().json()["credits"]["remaining"] is None


def test_cap_and_top_up_are_told(api: Api, organization: Organization) -> None:
    spending.set_cap(organization=organization, amount=Decimal(500), actor=None)
    top_up(organization)

    found = api.get().json()

    assert found["spend_cap"] == 500
    assert found["auto_top_up"] == {
        "pack": "1000",
        "credits": 1000,
        "threshold": 100,
        "monthly_limit": 50,
        "stopped_at": None,
        "stopped_reason": "",
    }


def test_a_subscription_is_told_with_its_next_invoice(
    catalogued: SimulatorProcess, api: Api, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    found = api.get().json()

    assert (found["status"], found["interval"], found["card"]) == ("active", "month", "Visa •••• 4242")
    assert found["next_invoice"]["total"] == 799
    assert found["renews_at"] == found["overage"]["period_end"]


def test_while_stripe_is_away_the_rest_is_told(api: Api) -> None:
    BillingAccount.objects.update(
        stripe_customer="cus_1", stripe_subscription="sub_1", subscription_status="active"
    )

    response = api.get()

    assert response.status_code == 200
    assert response.json()["next_invoice"] is None


def test_the_ledger_is_told_line_by_line(api: Api, organization: Organization, rates: None, use: Use) -> None:
    use(30)
    settle(organization)

    first = api.get("/ledger", limit=1).json()
    second = api.get("/ledger", cursor=first["next_cursor"]).json()

    assert [(line["kind"], line["amount"], line["balance"]) for line in first["data"] + second["data"]] == [
        ("usage", -30, 70),
        ("grant", 100, 100),
    ]
    assert second["next_cursor"] is None


def test_a_line_names_the_invoice_by_which_it_was_bought(api: Api, organization: Organization) -> None:
    invoice(organization, 7)
    credits.grant(
        organization,
        kind=CreditGrant.Kind.PURCHASED,
        amount=Decimal(10),
        key="a",
        reason="Bought",
        stripe_object="in_7",
    )

    lines = api.get("/ledger").json()["data"]
    rows = b"".join(api.get("/ledger", format="csv")).decode().splitlines()

    assert [line["invoice"] for line in lines] == ["A-7", None]
    assert [row.split(",")[-1] for row in rows] == ["invoice", "A-7", ""]


def test_the_ledger_can_be_narrowed(api: Api, organization: Organization, rates: None, use: Use) -> None:
    use(30)
    settle(organization)

    assert [line["kind"] for line in api.get("/ledger", kind="usage").json()["data"]] == ["usage"]
    assert api.get("/ledger", until="2020-01-01").json()["data"] == []


def test_the_ledger_as_csv(api: Api, organization: Organization) -> None:
    credits.grant(organization, kind=CreditGrant.Kind.GOODWILL, amount=Decimal(5), key="a", reason="-1+2")

    lines = b"".join(api.get("/ledger", format="csv")).decode().splitlines()

    assert (
        lines[0] == "id,created_at,kind,amount,overage,balance,grant_id,grant_kind,day,job_id,reason,invoice"
    )
    assert lines[1].endswith(",'-1+2,")
    assert len(lines) == 3


def test_invoices_are_told_newest_first(api: Api, organization: Organization) -> None:
    for number in range(3):
        invoice(organization, number, total=Decimal("10.5"), hosted_url="javascript:alert(1)")

    found = api.get("/invoices", limit=2).json()

    assert [(line["number"], line["total"], line["hosted_url"]) for line in found["data"]] == [
        ("A-0", 10.5, ""),
        ("A-1", 10.5, ""),
    ]
    assert found["next_cursor"]


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("", {"plan": "pro"}, "plan"),
        ("/ledger", {"kinds": "usage"}, "kinds"),
        ("/ledger", {"kind": "nothing"}, "kind"),
        ("/ledger", {"since": "2026-02-01", "until": "2026-01-01"}, "since"),
        ("/ledger", {"limit": "501"}, "limit"),
        ("/ledger", {"cursor": "nonsense"}, "cursor"),
        ("/invoices", {"status": "paid"}, "status"),
        ("/invoices", {"format": "pdf"}, "format"),
    ],
)
def test_what_is_no_parameter_is_refused_by_name(
    api: Api, path: str, query: dict[str, str], param: str
) -> None:
    assert error(api.get(path, **query)) == (400, "invalid_request", param)


def test_a_key_without_the_scope_is_refused(organization_key: tuple[Any, str]) -> None:
    for path in ("", "/ledger", "/invoices"):
        assert Api(organization_key[1]).get(path).status_code == 403


def test_an_admin_looks_and_does_not_pay(organization: Organization, admin: User) -> None:
    _, secret = keys.create_personal_key(
        user=admin, organization=organization, name="laptop", scopes=[Scope.BILLING]
    )

    assert Api(secret).get().status_code == 200
    assert Api(secret).post("/portal-session", {}).status_code == 403


def test_a_checkout_is_begun(catalogued: SimulatorProcess, api: Api) -> None:
    for body in ({"kind": "pack", "pack": "1000"}, {"kind": "plan", "plan": "pro"}):
        response = api.post("/checkout-session", body)

        assert response.status_code == 201
        assert response.json()["url"].startswith(catalogued.url)


def test_a_second_subscription_conflicts(
    catalogued: SimulatorProcess, api: Api, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    assert error(api.post("/checkout-session", {"kind": "plan", "plan": "pro"})) == (409, "conflict", None)


def test_the_portal_is_opened(catalogued: SimulatorProcess, api: Api, organization: Organization) -> None:
    assert error(api.post("/portal-session", {})) == (409, "conflict", None)
    subscribe(catalogued, organization)

    response = api.post("/portal-session", {})

    assert (response.status_code, list(response.json())) == (201, ["url"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "kind"),
        ({"kind": "pack"}, "pack"),
        ({"kind": "plan"}, "plan"),
        ({"kind": "pack", "pack": "7"}, "pack"),
        ({"kind": "plan", "plan": "enterprise"}, "plan"),
        ({"kind": "plan", "plan": "pro", "interval": "week"}, "interval"),
        ({"kind": "plan", "plan": "pro", "pack": "1000"}, "pack"),
        ({"kind": "pack", "pack": "1000", "quantity": 2}, "quantity"),
    ],
)
def test_what_cannot_be_bought_is_refused_by_field(api: Api, body: dict[str, Any], param: str) -> None:
    assert error(api.post("/checkout-session", body)) == (400, "invalid_request", param)


def test_while_stripe_is_away_nothing_is_begun(api: Api) -> None:
    response = api.post("/checkout-session", {"kind": "pack", "pack": "1000"})

    assert error(response) == (503, "server", None)
    assert response["Retry-After"]


def test_without_payments_nothing_is_begun(api: Api, settings: Settings) -> None:
    settings.DEMO, settings.STRIPE_IS_SIMULATED = False, True

    response = api.post("/checkout-session", {"kind": "pack", "pack": "1000"})

    assert response.status_code == 409
    assert settings.SUPPORT_EMAIL in response.json()["error"]["message"]
