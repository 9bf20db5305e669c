"""The invoices of an organization."""

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.views import APIView

from accounts import spreadsheets
from accounts.api.base import ORG_ID, OrganizationRequest, PageQuery, page_of, page_schema, read_query
from accounts.permissions import Permission
from billing import hosted, invoices
from billing.models import Invoice

_INVOICE: dict[str, Any] = {
    "id": "ivc_2nXw8rTfZ0aYcQ5LbKdM",
    "number": "8XKQ2M-0004",
    "status": "paid",
    "description": "Plan, Usage",
    "created_at": "2026-07-03T09:30:00.000000Z",
    "period_start": "2026-06-03T09:30:00.000000Z",
    "period_end": "2026-07-03T09:30:00.000000Z",
    "currency": "usd",
    "total": 811.04,
    "amount_due": 0.0,
    "amount_paid": 811.04,
    "paid_at": "2026-07-03T10:30:00.000000Z",
    "next_attempt_at": None,
    "hosted_url": "https://invoice.stripe.com/i/…",
    "pdf_url": "https://pay.stripe.com/invoice/…/pdf",
    "receipt_url": "https://pay.stripe.com/receipts/…",
}


class InvoicesQuery(PageQuery):
    format = serializers.ChoiceField(
        ["json", "csv"], default="json", help_text="As CSV, all of them come at once."
    )


class InvoiceLine(serializers.ModelSerializer[Invoice]):
    """An invoice, in dollars. What is still due of it is `amount_due`."""

    id = serializers.CharField(source="uid")
    description = serializers.SerializerMethodField(help_text="What it is for, in a word or two.")
    total = serializers.FloatField()
    amount_due = serializers.FloatField()
    amount_paid = serializers.FloatField()
    next_attempt_at = serializers.DateTimeField(
        allow_null=True, help_text="After a payment that failed: when the card is tried again."
    )
    hosted_url = serializers.SerializerMethodField(
        help_text="Where it can be seen and paid; empty for nowhere."
    )
    pdf_url = serializers.SerializerMethodField()
    receipt_url = serializers.SerializerMethodField()

    class Meta:
        model = Invoice
        fields = list(_INVOICE)

    def get_description(self, invoice: Invoice) -> str:
        return invoices.description(invoice)

    def get_hosted_url(self, invoice: Invoice) -> str:
        return hosted.link(invoice.hosted_url)

    def get_pdf_url(self, invoice: Invoice) -> str:
        return hosted.link(invoice.pdf_url)

    def get_receipt_url(self, invoice: Invoice) -> str:
        return hosted.link(invoice.receipt_url)


class Invoices(APIView):
    permission = Permission.BILLING_VIEW

    @extend_schema(
        operation_id="list_invoices",
        summary="List invoices",
        description="What was billed, newest first, with Stripe's pages of each invoice. Drafts are left out.",
        tags=["billing"],
        parameters=[InvoicesQuery, ORG_ID],
        responses={
            (200, "application/json"): page_schema("InvoiceList", InvoiceLine),
            (200, "text/csv"): OpenApiTypes.STR,
        },
        examples=[
            OpenApiExample(
                "A page",
                value={"data": [_INVOICE], "next_cursor": None},
                response_only=True,
                media_type="application/json",
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> HttpResponseBase:
        asked = read_query(InvoicesQuery, request, and_no_others=True)
        if asked["format"] == "csv":
            name = f"invoices-{request.organization.uid}.csv"
            return spreadsheets.download(name, invoices.csv(request.organization))
        return page_of(invoices.of(request.organization), asked, InvoiceLine)
