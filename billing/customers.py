"""An organization as a customer of Stripe's, and the card that is on file there."""

from datetime import UTC, datetime

import stripe
from django.conf import settings

from accounts.models import Organization
from billing.gateway import get_stripe
from billing.models import BillingAccount


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


def _details(organization: Organization) -> dict[str, str]:
    email = organization.billing_email
    return {"name": organization.name} | ({"email": email} if email else {})


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
