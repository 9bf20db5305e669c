"""Stripe's events on their way in: signed by the simulator, taken in by dj-stripe, applied by us."""

from accounts.models import Organization
from billing import checkout, plans
from billing.models import CreditGrant, StripeChange
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import CANCEL, SUCCESS, account_of


def checked_out(process: SimulatorProcess, organization: Organization, plan: str = plans.PRO) -> None:
    """Have an organization pay in Checkout, and never come back: only events tell of it."""
    url = checkout.subscribe(
        organization=organization,
        plan=plans.named(plan),
        interval="month",
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    process.complete_checkout(url)
    process.settle()


def test_a_subscription_is_heard_of(with_events: SimulatorProcess, organization: Organization) -> None:
    checked_out(with_events, organization)

    account = account_of(organization)
    assert (account.plan.slug, account.subscription_status) == ("pro", "active")
    assert CreditGrant.objects.get(organization=organization, kind="included").amount == 100_000
    assert not StripeChange.objects.exists()
    assert {delivery["state"] for delivery in with_events.deliveries()} == {"delivered"}
    agrees(organization)
