"""Bringing our catalogue to Stripe, against the simulator over HTTP."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import stripe
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from djstripe.models import WebhookEndpoint
from pytest_django import Settings

from accounts.models import Organization
from billing import catalogue, thin_events
from billing.models import CreditPack, MeterReport, Plan
from tests.billing.simulator_process import SimulatorProcess
from tests.usage.test_corrections_concurrently import at_once


@pytest.fixture
def stripe_server(own_stripe: SimulatorProcess, db: None, settings: Settings) -> Iterator[SimulatorProcess]:
    """Stripe that knows nothing of us, and reaches us."""
    settings.BASE_URL = "http://127.0.0.1:9"
    yield own_stripe


def sync() -> list[str]:
    """What had to be changed."""
    said: list[str] = []
    catalogue.sync(say=said.append)
    return said


def prices(process: SimulatorProcess) -> dict[str | None, Decimal]:
    """The active prices, in dollars."""
    found = process.client.v1.prices.list({"active": True, "limit": 100}).data
    return {price.lookup_key: Decimal(price.unit_amount_decimal or 0) / 100 for price in found}


def test_the_version_is_that_of_the_sdk() -> None:
    assert configured.STRIPE_API_VERSION == stripe.api_version == stripe._api_version._ApiVersion.CURRENT


def test_all_that_is_sold_has_its_price(stripe_server: SimulatorProcess) -> None:
    sync()

    assert prices(stripe_server) == {
        "pay_as_you_go_usage": Decimal("0.01"),
        "pro_monthly": 799,
        "pro_yearly": 7_990,
        "pro_usage": Decimal("0.01"),
        "pack_1000": 10,
        "pack_10000": 100,
        "pack_100000": 950,
    }
    assert Plan.objects.get(slug="pro").stripe_product == "plan_pro"
    assert CreditPack.objects.get(slug="1000").stripe_product == "pack_1000"
    assert Plan.objects.get(slug="enterprise").stripe_product == ""


def test_a_second_run_changes_nothing(stripe_server: SimulatorProcess) -> None:
    sync()
    events = len(stripe_server.client.v1.events.list({"limit": 100}).data)

    said = sync()

    assert said == []
    assert len(stripe_server.client.v1.events.list({"limit": 100}).data) == events
    assert WebhookEndpoint.objects.count() == 2


def test_another_amount_is_another_price(stripe_server: SimulatorProcess) -> None:
    sync()
    before = catalogue.price_of("pro_monthly")
    Plan.objects.filter(slug="pro").update(monthly_price=899)

    sync()

    after = catalogue.price_of("pro_monthly")
    assert before and after and before.id != after.id
    assert prices(stripe_server)["pro_monthly"] == 899
    archived = stripe_server.client.v1.prices.retrieve(before.id)
    assert (archived.active, archived.lookup_key) == (False, None)
    assert archived.metadata and archived.metadata["plan"] == "pro"


def test_an_amount_that_comes_back_is_a_price_again(stripe_server: SimulatorProcess) -> None:
    for amount in (799, 899, 799):
        Plan.objects.filter(slug="pro").update(monthly_price=amount)
        sync()

    assert prices(stripe_server)["pro_monthly"] == 799


def test_what_is_not_sold_by_year_any_more_is_archived(stripe_server: SimulatorProcess) -> None:
    sync()
    Plan.objects.filter(slug="pro").update(yearly_price=None)

    sync()

    assert catalogue.price_of("pro_yearly") is None


def test_events_come_to_one_endpoint_whose_secret_is_known(stripe_server: SimulatorProcess) -> None:
    sync()

    [endpoint] = stripe_server.client.v1.webhook_endpoints.list().data
    row = WebhookEndpoint.objects.get(id=endpoint.id)
    assert row.secret.startswith("whsec_")
    assert endpoint.url == f"http://127.0.0.1:9/stripe/webhook/{row.djstripe_uuid}/"
    assert endpoint.api_version == configured.STRIPE_API_VERSION
    assert sorted(endpoint.enabled_events) == catalogue.EVENTS


def test_another_address_of_ours_moves_the_endpoint(
    stripe_server: SimulatorProcess, settings: Settings
) -> None:
    sync()
    secret = WebhookEndpoint.objects.exclude(id__startswith="ed_").get().secret
    settings.BASE_URL = "http://localhost:10"

    sync()

    [endpoint] = stripe_server.client.v1.webhook_endpoints.list().data
    row = WebhookEndpoint.objects.get(id=endpoint.id)
    assert endpoint.url == row.url == f"http://localhost:10/stripe/webhook/{row.djstripe_uuid}/"
    assert row.secret == secret
    [destination] = WebhookEndpoint.objects.filter(id__startswith="ed_")
    assert destination.url == "http://localhost:10/stripe/thin-events/"


def test_an_endpoint_whose_secret_is_lost_is_made_anew(stripe_server: SimulatorProcess) -> None:
    sync()
    WebhookEndpoint.objects.all().delete()

    sync()

    [endpoint] = stripe_server.client.v1.webhook_endpoints.list().data
    assert WebhookEndpoint.objects.get(id=endpoint.id).secret
    assert len(stripe_server.client.v2.core.event_destinations.list().data) == 1


def test_where_stripe_forgot_us_all_is_made_anew(
    stripe_server: SimulatorProcess, own_simulator: SimulatorProcess
) -> None:
    sync()
    for endpoint in stripe_server.client.v1.webhook_endpoints.list().data:
        stripe_server.client.v1.webhook_endpoints.delete(endpoint.id)

    sync()

    [endpoint] = stripe_server.client.v1.webhook_endpoints.list().data
    assert [row.id for row in WebhookEndpoint.objects.exclude(id__startswith="ed_")] == [endpoint.id]


@pytest.mark.parametrize("address", ["https://account.example.com", "http://192.168.1.5:8000"])
def test_stripe_that_cannot_reach_us_is_given_no_address(
    address: str, stripe_server: SimulatorProcess, settings: Settings
) -> None:
    settings.BASE_URL = address

    said = sync()

    assert f"Stripe cannot reach {address}" in said[-1]
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("https://account.example.com", True),
        ("http://localhost:8000", False),
        ("http://127.0.0.1:8000", False),
        ("http://10.0.0.1", False),
        ("http://[::1]:8000", False),
    ],
)
def test_stripe_itself_reaches_public_addresses(address: str, reached: bool, settings: Settings) -> None:
    settings.STRIPE_IS_SIMULATED, settings.BASE_URL = False, address

    assert catalogue._reaches_us() is reached


def test_the_portal_is_configured_once(stripe_server: SimulatorProcess) -> None:
    sync()
    sync()

    [found] = stripe_server.client.v1.billing_portal.configurations.list().data
    assert found.features.subscription_cancel.mode == "immediately"
    assert not found.features.subscription_update.enabled


def test_the_command_says_what_it_made(
    stripe_server: SimulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("sync_stripe")

    assert "Made the price pro_monthly of 799 dollars." in capsys.readouterr().out


def test_the_command_says_that_stripe_is_away(own_stripe: SimulatorProcess, db: None) -> None:
    own_stripe.stop()

    with pytest.raises(CommandError, match="did not do it"):
        call_command("sync_stripe")
    own_stripe.start()


# ── What Stripe tells of its meter ───────────────────────────────────────────────────────────────────────────
def test_why_the_meter_did_not_count_a_report_is_noted_with_it(
    stripe_server: SimulatorProcess, organization: Organization
) -> None:
    sync()
    report = MeterReport.objects.create(
        organization=organization,
        hour="2026-11-01T00:00Z",
        sequence=0,
        quantity=1,
        identifier="cr:1:2026110100:0",
        stripe_customer="cus_nobody",
        stripe_subscription="sub_1",
        period_start="2026-11-01T00:00Z",
        timestamp="2026-11-01T00:00Z",
        state=MeterReport.State.SENT,
    )
    stripe_server.client.v1.billing.meter_events.create(
        {
            "event_name": "credits",
            "identifier": report.identifier,
            "payload": {"stripe_customer_id": "cus_nobody", "value": "1"},
        }
    )
    [delivery] = [one for one in stripe_server.deliveries() if "evt_test" in one["event"]]

    thin_events.note(delivery["event"])

    report.refresh_from_db()
    assert report.state == MeterReport.State.SENT  # what is missing, reconciling finds
    assert "cus_nobody" in report.last_error


@pytest.mark.django_db(transaction=True)
def test_two_first_runs_at_once_make_everything_once(
    own_stripe: SimulatorProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe takes any number of webhook endpoints and configurations of the portal."""
    settings.BASE_URL = "http://127.0.0.1:9"
    look = catalogue.portal_configuration

    def look_slowly() -> Any:
        found = look()
        time.sleep(0.3)
        return found

    monkeypatch.setattr(catalogue, "portal_configuration", look_slowly)
    at_once(catalogue.sync, catalogue.sync)

    client = own_stripe.client.v1
    assert len(client.billing_portal.configurations.list({"limit": 100}).data) == 1
    assert len(client.webhook_endpoints.list({"limit": 100}).data) == 1
