"""The plan, credits and payments of an organization, in one answer."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.base import ORG_ID, OrganizationRequest, read_query
from accounts.permissions import Permission
from billing import calls, invoices, summary
from billing.models import BillingAccount, CreditGrant, Interval
from billing.summary import Summary

_SUMMARY: dict[str, Any] = {
    "plan": {"id": "pro", "name": "Pro"},
    "status": "active",
    "interval": "month",
    "may_call": True,
    "reason": "",
    "calls_end_at": None,
    "renews_at": "2026-07-03T09:30:00.000000Z",
    "ends_at": None,
    "next_plan": None,
    "credits": {
        "balance": 80_120.5,
        "unsettled": 20.5,
        "remaining": 80_100.0,
        "included": 100_000.0,
        "included_left": 80_100.0,
        "resets_at": "2026-07-03T09:30:00.000000Z",
        "grants": [
            {
                "id": "grt_2nXw8rTfZ0aYcQ5LbKdM",
                "kind": "included",
                "reason": "Credits of Pro, 3 June to 3 July 2026",
                "amount": 100_000.0,
                "left": 80_100.0,
                "created_at": "2026-06-03T09:30:00.000000Z",
                "expires_at": "2026-07-03T09:30:00.000000Z",
            }
        ],
    },
    "overage": {
        "period_start": "2026-06-03T09:30:00.000000Z",
        "period_end": "2026-07-03T09:30:00.000000Z",
        "credits": 0.0,
        "dollars": 0.0,
        "credit_price": 0.01,
    },
    "spend_cap": 500.0,
    "card": "Visa •••• 4242",
    "next_invoice": {"date": "2026-07-03T09:30:00.000000Z", "total": 799.0},
    "auto_top_up": None,
}


class PlanName(serializers.Serializer[Any]):
    id = serializers.CharField(source="slug")
    name = serializers.CharField()


class GrantLine(serializers.Serializer[Any]):
    """Credits that came in. They are used up in the order of this list."""

    id = serializers.CharField(source="grant.uid")
    kind = serializers.ChoiceField(CreditGrant.Kind.choices, source="grant.kind")
    reason = serializers.CharField(source="grant.reason")
    amount = serializers.FloatField(source="grant.amount")
    left = serializers.FloatField()
    created_at = serializers.DateTimeField(source="grant.created_at")
    expires_at = serializers.DateTimeField(source="grant.expires_at", allow_null=True)


class CreditsLine(serializers.Serializer[Any]):
    balance = serializers.FloatField(source="balance.settled", help_text="As the ledger has it.")
    unsettled = serializers.FloatField(
        source="balance.unsettled",
        help_text="Used since the ledger followed, some minutes ago; below 0 where corrections give back.",
    )
    remaining = serializers.SerializerMethodField(
        help_text="What is left at this moment, as verify has it; null where nothing limits it."
    )
    included = serializers.FloatField(
        source="terms.included_credits", help_text="Credits that come with the plan each month."
    )
    included_left = serializers.FloatField(
        source="included.left", default=0.0, help_text="What is left of this month's."
    )
    resets_at = serializers.DateTimeField(
        allow_null=True, help_text="When the included credits come anew, or else overage is next invoiced."
    )
    grants = GrantLine(many=True)

    def get_remaining(self, found: Summary) -> float | None:
        return None if found.balance.is_unlimited else float(found.balance.remaining)


class OverageLine(serializers.Serializer[Any]):
    """What credits did not cover in the period that runs, and is billed at its end."""

    period_start = serializers.DateTimeField(source="start")
    period_end = serializers.DateTimeField(source="end")
    credits = serializers.FloatField(source="overage")
    dollars = serializers.FloatField(source="cost")
    credit_price = serializers.FloatField(source="price", help_text="Dollars for one.")


class NextInvoiceLine(serializers.Serializer[Any]):
    date = serializers.DateTimeField(source="at", allow_null=True)
    total = serializers.FloatField(help_text="Dollars, as it would be if nothing more was used.")


class AutoTopUpLine(serializers.Serializer[Any]):
    pack = serializers.CharField(source="pack.slug")
    credits = serializers.FloatField(source="pack.credits", help_text="Bought each time.")
    threshold = serializers.FloatField(help_text="Bought when fewer credits than these are left.")
    monthly_limit = serializers.FloatField(help_text="Dollars a calendar month (UTC).")
    stopped_at = serializers.DateTimeField(allow_null=True)
    stopped_reason = serializers.CharField()


class BillingSummary(serializers.Serializer[Any]):
    plan = PlanName(source="account.plan")
    status = serializers.ChoiceField(
        summary.STATES, source="state", help_text="`ending` is paid for, and changes at `ends_at`."
    )
    interval = serializers.ChoiceField(
        Interval.choices,
        source="account.interval",
        allow_blank=True,
        help_text="Empty where only usage is billed.",
    )
    may_call = serializers.SerializerMethodField(help_text="Whether verify lets any key through.")
    reason = serializers.SerializerMethodField(help_text="Why not, in words.")
    calls_end_at = serializers.DateTimeField(
        allow_null=True, help_text="While a payment is due: from when on calls are refused."
    )
    renews_at = serializers.DateTimeField(source="account.renews_at", allow_null=True)
    ends_at = serializers.DateTimeField(source="account.ends_at", allow_null=True)
    next_plan = PlanName(
        source="account.next_plan", allow_null=True, help_text="What follows at `ends_at`; null for nothing."
    )
    credits = CreditsLine(source="*")
    overage = OverageLine(source="period", allow_null=True, help_text="Null where nobody bills overage.")
    spend_cap = serializers.SerializerMethodField(help_text="Dollars a month; null for none.")
    card = serializers.SerializerMethodField(help_text="The card on file; null for none.")
    next_invoice = serializers.SerializerMethodField(
        help_text="Null where none is to come, or where Stripe cannot be asked now."
    )
    auto_top_up = serializers.SerializerMethodField()

    def get_may_call(self, found: Summary) -> bool:
        return not self.context["calls"].refusal

    def get_reason(self, found: Summary) -> str:
        entitlement = self.context["calls"].entitlement
        return entitlement.reason if entitlement else ""

    def get_spend_cap(self, found: Summary) -> float | None:
        cap = getattr(found.account.organization, "spend_cap", None)
        return float(cap.amount) if cap else None

    def get_card(self, found: Summary) -> str | None:
        return found.account.card or None

    @extend_schema_field(NextInvoiceLine(allow_null=True))
    def get_next_invoice(self, found: Summary) -> dict[str, Any] | None:
        upcoming = self.context["upcoming"]
        return NextInvoiceLine(upcoming).data if upcoming and upcoming.is_available else None

    @extend_schema_field(AutoTopUpLine(allow_null=True))
    def get_auto_top_up(self, found: Summary) -> dict[str, Any] | None:
        top_up = getattr(found.account.organization, "auto_top_up", None)
        return AutoTopUpLine(top_up).data if top_up else None


class Billing(APIView):
    permission = Permission.BILLING_VIEW

    @extend_schema(
        operation_id="get_billing",
        summary="Get plan, credits and payments",
        description="What the organization is on, how it pays, and what it has of credits at this moment.",
        tags=["billing"],
        parameters=[ORG_ID],
        responses=BillingSummary,
        examples=[OpenApiExample("On Pro", value=_SUMMARY, response_only=True)],
    )
    def get(self, request: OrganizationRequest) -> Response:
        read_query(serializers.Serializer, request, and_no_others=True)
        found = calls.of(request.organization)
        if found is None:
            raise Http404
        context = {"calls": found, "upcoming": _upcoming(found.account)}
        return Response(BillingSummary(summary.of(found), context=context).data)


def _upcoming(account: BillingAccount) -> invoices.Upcoming | None:
    return invoices.upcoming(account.organization) if account.is_subscribed and calls.can_pay() else None
