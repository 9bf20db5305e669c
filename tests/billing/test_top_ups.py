"""Packs that are bought by themselves: within the limit, once, and whatever happens on the way."""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import stripe
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.audit import Actor
from accounts.models import AuditEntry, Notification, Organization, User
from billing import access, customers, refunds, subscriptions, top_ups
from billing.gateway import get_stripe
from billing.models import AutoTopUp, BillingAccount, CreditEntry, CreditGrant, CreditPack, Invoice, TopUp
from tests.billing.conftest import Use, agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.subscribed import account_of, invoices_of, till, till_process
from usage.models import Entitlement

__all__ = ["till", "till_process"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def pack(db: None) -> CreditPack:
    return CreditPack.objects.get(slug="1000")


@pytest.fixture
def with_card(organization: Organization, till: SimulatorProcess) -> BillingAccount:
    """Prepaid, with a card on file."""
    till.set_card(customers.ensure(organization))
    subscriptions.sync(organization)
    return account_of(organization)


@pytest.fixture
def wish(with_card: BillingAccount, pack: CreditPack) -> AutoTopUp:
    return top_ups.configure(
        organization=with_card.organization,
        threshold=Decimal(50),
        pack=pack,
        monthly_limit=Decimal(25),
        actor=None,
    )


def remaining(organization: Organization) -> Decimal | None:
    return Entitlement.objects.get(organization=organization).credits_remaining


def run() -> None:
    top_ups.begin_due()
    top_ups.finish_waiting()


def charged(organization: Organization) -> list[int]:
    """What was really charged, in cents."""
    customer = account_of(organization).stripe_customer
    charges = get_stripe().v1.charges.list({"customer": customer, "limit": 100}).data
    return [charge.amount for charge in charges if charge.status == "succeeded"]


# ── The wish ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("threshold", {"threshold": Decimal(0)}),
        ("threshold", {"threshold": Decimal(-1)}),
        ("threshold", {"threshold": Decimal("NaN")}),
        ("threshold", {"threshold": Decimal(10**9)}),
        ("monthly_limit", {"monthly_limit": Decimal("9.99")}),
        ("monthly_limit", {"monthly_limit": Decimal("10.001")}),
        ("monthly_limit", {"monthly_limit": Decimal("Infinity")}),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(
    with_card: BillingAccount, pack: CreditPack, field: str, values: dict[str, Decimal]
) -> None:
    good: dict[str, Any] = {"threshold": Decimal(50), "monthly_limit": Decimal(25), "pack": pack}

    with pytest.raises(ValidationError) as refused:
        top_ups.configure(organization=with_card.organization, actor=None, **good | values)

    assert list(refused.value.message_dict) == [field]
    assert not AutoTopUp.objects.exists()


def test_a_pack_that_is_not_offered_is_refused(with_card: BillingAccount, pack: CreditPack) -> None:
    pack.is_offered = False

    with pytest.raises(ValidationError) as refused:
        top_ups.configure(
            organization=with_card.organization,
            threshold=Decimal(50),
            pack=pack,
            monthly_limit=Decimal(25),
            actor=None,
        )

    assert list(refused.value.message_dict) == ["pack"]


def test_it_needs_a_card(organization: Organization, pack: CreditPack) -> None:
    with pytest.raises(top_ups.NoCard):
        top_ups.configure(
            organization=organization,
            threshold=Decimal(50),
            pack=pack,
            monthly_limit=Decimal(25),
            actor=None,
        )


def test_setting_and_removing_it_is_on_record(wish: AutoTopUp, owner: User) -> None:
    removed = top_ups.remove(organization=wish.organization, actor=Actor(owner))

    assert removed
    assert not top_ups.remove(organization=wish.organization, actor=Actor(owner))
    actions = AuditEntry.objects.filter(action__startswith="auto_top_up").order_by("id")
    assert list(actions.values_list("action", flat=True)) == ["auto_top_up.set", "auto_top_up.removed"]


# ── Buying ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_pack_is_bought_when_few_credits_are_left(
    wish: AutoTopUp, organization: Organization, use: Use
) -> None:
    use(60)

    run()

    assert remaining(organization) == 1_040
    assert charged(organization) == [1_000]
    bought = TopUp.objects.get()
    assert (bought.state, bought.price) == ("paid", 10)
    invoice = Invoice.objects.get()
    assert (invoice.status, invoice.total, invoice.lines[0]["kind"]) == ("paid", 10, "pack")
    assert CreditGrant.objects.get(kind="purchased").stripe_object == invoice.stripe_id
    agrees(organization)


def test_nothing_is_bought_while_enough_is_left(
    wish: AutoTopUp, organization: Organization, use: Use
) -> None:
    use(50)

    run()

    assert not TopUp.objects.exists()


def test_no_more_is_spent_in_a_month_than_the_limit(
    wish: AutoTopUp, organization: Organization, use: Use
) -> None:
    for _ in range(3):
        use(1_050)
        run()

    assert charged(organization) == [1_000, 1_000]


def test_who_has_reached_the_limit_is_told_once_a_month(
    wish: AutoTopUp, organization: Organization, use: Use, owner: User
) -> None:
    for _ in range(4):
        use(1_050)
        run()

    told = Notification.objects.get(user=owner, key__startswith="top_up.limited")
    assert told.body.startswith("$20.00 of $25.00 are spent, and a pack costs $10.00.")


@pytest.mark.parametrize("how", ["suspended", "deleted"])
def test_what_nobody_could_use_any_more_is_not_charged(
    wish: AutoTopUp, organization: Organization, use: Use, how: str
) -> None:
    use(60)
    top_ups.begin_due()
    if how == "suspended":
        access.agree(organization=organization, reason="Abuse", actor=None, is_suspended=True)
    else:
        Organization.objects.filter(pk=organization.pk).update(deleted_at=timezone.now())

    assert top_ups.finish_waiting() == 1

    assert charged(organization) == []
    assert TopUp.objects.get().state == "failed"
    wish.refresh_from_db()
    assert wish.stopped_at is None


def test_the_limit_is_of_the_calendar_month(wish: AutoTopUp, organization: Organization, use: Use) -> None:
    for _ in range(2):
        use(1_050)
        run()
    TopUp.objects.update(created_at=timezone.now() - timedelta(days=32))
    use(1_050)

    run()

    assert len(charged(organization)) == 3


def test_eight_ticks_make_one_purchase(wish: AutoTopUp, organization: Organization, use: Use) -> None:
    use(60)

    assert [top_ups.begin_due() for _ in range(8)] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert sum(top_ups.finish_waiting() for _ in range(8)) == 1

    assert charged(organization) == [1_000]


def test_a_declined_card_stops_it_and_somebody_is_told(
    wish: AutoTopUp, organization: Organization, use: Use, till: SimulatorProcess, owner: User
) -> None:
    till.fail_payments(account_of(organization).stripe_customer)
    use(60)

    run()
    run()

    wish.refresh_from_db()
    assert wish.stopped_at
    assert "declined" in wish.stopped_reason
    assert TopUp.objects.get().state == "failed"
    assert [invoice.status for invoice in invoices_of(organization)] == ["void"]
    assert charged(organization) == []
    assert remaining(organization) == 40
    assert Notification.objects.filter(user=owner, key__startswith="top_up.failed").count() == 1


def test_it_goes_on_when_it_is_set_again(
    wish: AutoTopUp, organization: Organization, use: Use, pack: CreditPack, till: SimulatorProcess
) -> None:
    customer = account_of(organization).stripe_customer
    till.fail_payments(customer)
    use(60)
    run()
    till.set_card(customer)

    top_ups.configure(
        organization=organization,
        threshold=Decimal(50),
        pack=pack,
        monthly_limit=Decimal(25),
        actor=None,
    )
    run()

    assert charged(organization) == [1_000]


def test_a_pack_whose_price_is_another_one_at_stripe_is_not_charged(
    wish: AutoTopUp, organization: Organization, use: Use
) -> None:
    CreditPack.objects.filter(slug="1000").update(price=Decimal(11))
    use(60)

    run()

    assert charged(organization) == []
    assert "price" in TopUp.objects.get().problem


STEPS = ["_invoice", "_finalize", "_pay", "_grant"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_died_anywhere_is_taken_over_and_charges_once(
    wish: AutoTopUp,
    organization: Organization,
    use: Use,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    when: str,
) -> None:
    use(60)
    top_ups.begin_due()
    real = getattr(top_ups, step)

    def dies(*args: Any) -> None:
        if when == "after":
            real(*args)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(top_ups, step, dies)
        with pytest.raises(Died):
            top_ups.finish_waiting()
    assert top_ups.finish_waiting() == 0 or (step, when) == ("_grant", "after")  # its lease runs

    top_ups.begin_due()
    top_ups.finish_waiting(now=timezone.now() + top_ups.LEASE * 2)

    assert charged(organization) == [1_000]
    assert remaining(organization) == 1_040
    assert TopUp.objects.get().state == "paid"


@pytest.mark.parametrize("step", ["_void", "_stop"])
def test_a_worker_that_died_after_a_failure_leaves_nothing_to_be_paid(
    wish: AutoTopUp,
    organization: Organization,
    use: Use,
    monkeypatch: pytest.MonkeyPatch,
    till: SimulatorProcess,
    step: str,
) -> None:
    customer = account_of(organization).stripe_customer
    till.fail_payments(customer)
    use(60)
    top_ups.begin_due()
    with monkeypatch.context() as patch:
        patch.setattr(top_ups, step, died)
        with pytest.raises(Died):
            top_ups.finish_waiting()

    top_ups.finish_waiting(now=timezone.now() + top_ups.LEASE * 2)

    assert charged(organization) == []
    assert TopUp.objects.get().state == "failed"
    assert [invoice.status for invoice in invoices_of(organization)] == ["void"]


def test_an_answer_that_never_came_is_asked_for_again(
    wish: AutoTopUp, organization: Organization, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(60)
    top_ups.begin_due()
    real = top_ups._pay

    def paid_but_unheard(*args: Any) -> None:
        real(*args)
        raise stripe.APIConnectionError("Timed out")  # type: ignore[no-untyped-call]

    with monkeypatch.context() as patch:
        patch.setattr(top_ups, "_pay", paid_but_unheard)
        top_ups.finish_waiting()
    assert TopUp.objects.get().state == "waiting"

    top_ups.finish_waiting(now=timezone.now() + top_ups.LEASE * 2)

    assert charged(organization) == [1_000]
    assert remaining(organization) == 1_040


def test_an_invoice_whose_key_stripe_has_forgotten_is_found(
    wish: AutoTopUp, organization: Organization, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(60)
    top_ups.begin_due()
    with monkeypatch.context() as patch:
        patch.setattr(top_ups, "_finalize", died)
        with pytest.raises(Died):
            top_ups.finish_waiting()
    TopUp.objects.update(stripe_invoice="", created_at=timezone.now() - timedelta(hours=30))

    top_ups.finish_waiting(now=timezone.now() + top_ups.LEASE * 2)

    assert [invoice.status for invoice in invoices_of(organization)] == ["paid"]


# ── Refunds ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def charge(wish: AutoTopUp, organization: Organization, use: Use) -> str:
    """That of a pack of 1,000 credits, of which none is used."""
    use(60)
    run()
    customer = account_of(organization).stripe_customer
    return get_stripe().v1.charges.list({"customer": customer}).data[0].id


def test_a_refund_takes_back_the_credits(charge: str, organization: Organization) -> None:
    get_stripe().v1.refunds.create({"charge": charge})

    assert refunds.apply(charge) == 1_000
    assert refunds.apply(charge) == 0

    assert remaining(organization) == 40
    entry = CreditEntry.objects.get(key__startswith="refund:")
    assert (entry.amount, entry.reason) == (-1_000, "Refunded")
    agrees(organization)


def test_a_part_of_the_money_takes_back_that_part_of_the_credits(
    charge: str, organization: Organization
) -> None:
    get_stripe().v1.refunds.create({"charge": charge, "amount": 250})
    refunds.apply(charge)
    get_stripe().v1.refunds.create({"charge": charge, "amount": 100})

    refunds.apply(charge)

    assert remaining(organization) == 690


def test_used_credits_are_not_taken_back(charge: str, organization: Organization, use: Use) -> None:
    use(940)
    get_stripe().v1.refunds.create({"charge": charge})

    assert refunds.apply(charge) == 100

    assert remaining(organization) == 0
    agrees(organization)


def test_a_refund_of_something_else_takes_nothing(charge: str, organization: Organization) -> None:
    granted = CreditGrant.objects.get(kind="purchased")
    CreditGrant.objects.filter(pk=granted.pk).update(stripe_object="in_another")
    get_stripe().v1.refunds.create({"charge": charge})

    assert refunds.apply(charge) == 0


def test_a_dispute_takes_the_credits_until_it_is_won(charge: str, organization: Organization) -> None:
    granted = CreditGrant.objects.get(kind="purchased")
    disputed = SimpleNamespace(id="du_1", amount=1_000, status="needs_response")

    assert refunds._dispute(granted, disputed, of=1_000) == 1_000
    assert refunds._dispute(granted, disputed, of=1_000) == 0
    assert remaining(organization) == 40

    for _ in range(2):
        refunds._dispute(granted, SimpleNamespace(id="du_1", amount=1_000, status="won"), of=1_000)
    assert remaining(organization) == 1_040
    agrees(organization)


def test_who_may_not_call_is_sold_nothing(wish: AutoTopUp, organization: Organization, use: Use) -> None:
    use(60)
    access.agree(organization=organization, reason="Abuse", actor=None, is_suspended=True)

    run()

    assert charged(organization) == []


def test_a_bank_that_takes_its_time_is_waited_for(
    wish: AutoTopUp, organization: Organization, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(60)
    top_ups.begin_due()
    with monkeypatch.context() as patch:
        patch.setattr(top_ups, "_pay", lambda top_up, invoice, account: (invoice, ""))
        assert top_ups.finish_waiting() == 0
    assert TopUp.objects.get().state == "waiting"

    top_ups.finish_waiting(now=timezone.now() + top_ups.LEASE * 2)

    assert remaining(organization) == 1_040


class Died(Exception):
    """The worker was killed here."""


def died(*_: object, **__: object) -> None:
    raise Died
