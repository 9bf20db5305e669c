"""An organization as a customer of Stripe's, and the card that is on file there."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import stripe
from django.conf import settings

from accounts.models import Organization
from billing.gateway import get_stripe
from billing.models import BillingAccount

# In a customer's metadata: a fingerprint of the name and address that it was told last.
TOLD = "told"


def ensure(organization: Organization) -> str:
    """Return the id of an organization's customer, made if there is none, with its name and address for invoices."""
    account = BillingAccount.objects.get(pk=organization.pk)
    if account.stripe_customer:
        return account.stripe_customer
    customer = _make(organization)
    BillingAccount.objects.filter(pk=organization.pk, stripe_customer="").update(stripe_customer=customer)
    # Two at once made one, by their idempotency key.
    return BillingAccount.objects.values_list("stripe_customer", flat=True).get(pk=organization.pk)


def _make(organization: Organization) -> str:
    customers = get_stripe().v1.customers
    # dj-stripe finds its subscriber by the first.
    metadata = {
        settings.DJSTRIPE_SUBSCRIBER_CUSTOMER_KEY: str(organization.pk),
        "organization": organization.uid,
    }
    # Nothing but what never changes: with the same key Stripe takes the same request only.
    key = f"customer:{organization.uid}"
    while True:
        made = customers.create({"metadata": metadata}, {"idempotency_key": key})
        try:
            customers.update(made.id, _details(organization))  # type: ignore[arg-type]
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise
            # The key was used before, for a customer that has been deleted since.
            key = f"customer:{organization.uid}:{made.id}"
        else:
            return made.id


def tell(organization: Organization) -> None:
    """Let Stripe know by what name and address an organization goes, for its next invoices."""
    account = BillingAccount.objects.get(pk=organization.pk)
    if account.stripe_customer:
        get_stripe().v1.customers.update(account.stripe_customer, _details(organization))  # type: ignore[arg-type]


def tell_if_changed(organization: Organization, customer: stripe.Customer) -> None:
    """Do so where that went amiss before, by what the customer says was told; what they changed themselves stays."""
    known = customer.metadata.to_dict().get(TOLD) if customer.metadata else None
    if known != _fingerprint(organization):
        tell(organization)


def _details(organization: Organization) -> dict[str, Any]:
    email = organization.billing_email
    told = {"name": organization.name} | ({"email": email} if email else {})
    return told | {"metadata": {TOLD: _fingerprint(organization)}}


def _fingerprint(organization: Organization) -> str:
    facts = f"{organization.name}\n{organization.billing_email}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def keep_card(organization: Organization) -> None:
    """Have the card that was saved with a purchase pay from now on, where the customer has none that does."""
    client = get_stripe().v1
    account = BillingAccount.objects.get(pk=organization.pk)
    customer = account.stripe_customer
    if not _default_card(customer) and (card := _newest_card(customer)):
        client.customers.update(customer, {"invoice_settings": {"default_payment_method": card}})


def card_to_charge(account: BillingAccount) -> str | None:
    """The id of what Stripe charges: the subscription's card, the customer's, or the newest that is on file."""
    client = get_stripe().v1
    held: list[Any] = []
    if account.is_subscribed and account.stripe_subscription:
        held.append(client.subscriptions.retrieve(account.stripe_subscription).default_payment_method)
    held.append(_default_card(account.stripe_customer))
    for method in filter(None, held):
        return str(getattr(method, "id", method))
    return _newest_card(account.stripe_customer)


def _default_card(customer: str) -> Any:
    # One that was deleted has no settings.
    settings = getattr(get_stripe().v1.customers.retrieve(customer), "invoice_settings", None)
    return settings.default_payment_method if settings else None


def _newest_card(customer: str) -> str | None:
    cards = get_stripe().v1.customers.payment_methods.list(customer, {"type": "card", "limit": 1}).data
    return cards[0].id if cards else None


def card_of(method: stripe.PaymentMethod | None) -> str:
    """A payment method in words, as “Visa •••• 4242”; empty for none."""
    if method is None:
        return ""
    if method.type != "card" or method.card is None:
        return method.type.replace("_", " ").capitalize()
    brand = (method.card.display_brand or method.card.brand).replace("_", " ").title()
    return f"{brand} •••• {method.card.last4}"


def card_ends_at(method: stripe.PaymentMethod | None) -> datetime | None:
    """When a card can no longer be charged; None for what does not expire."""
    if method is None or method.type != "card" or method.card is None:
        return None
    year, month = divmod(method.card.exp_year * 12 + method.card.exp_month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
