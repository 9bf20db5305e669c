"""Stripe's invoices, kept for lists."""

from datetime import UTC, datetime
from decimal import Decimal

import stripe
from django.core.cache import cache

from accounts.models import Organization
from billing.models import BillingAccount, Invoice


def record(stripe_invoice: stripe.Invoice) -> Invoice | None:
    """Keep an invoice as it has just been read from Stripe; None where its customer is not ours."""
    facts = stripe_invoice.to_dict()
    account = BillingAccount.objects.filter(stripe_customer=facts["customer"]).first()
    if account is None:
        return None
    kept, _ = Invoice.objects.update_or_create(
        stripe_id=facts["id"],
        defaults={
            "organization_id": account.organization_id,
            "number": facts["number"] or "",
            "status": facts["status"],
            "reason": facts["billing_reason"] or "",
            "total": Decimal(facts["total"]) / 100,
            "amount_due": Decimal(facts["amount_remaining"]) / 100,
            "amount_paid": Decimal(facts["amount_paid"]) / 100,
            "created_at": datetime.fromtimestamp(facts["created"], UTC),
        },
    )
    return kept


def forget(stripe_id: str) -> None:
    """A draft was deleted at Stripe: there never was an invoice."""
    Invoice.objects.filter(stripe_id=stripe_id, status="draft").delete()


def forget_upcoming(organization: Organization) -> None:
    """What is foreseen has changed."""
    cache.delete(f"billing:upcoming:{organization.pk}")
