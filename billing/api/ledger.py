"""The ledger of credits, line by line."""

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import spreadsheets
from accounts.api.base import ORG_ID, OrganizationRequest, PageQuery, page_schema, read_query
from accounts.permissions import Permission
from billing import ledger
from billing.ledger import Filters
from billing.models import CreditEntry, CreditGrant
from usage.api.records import DaysQuery

_LINE: dict[str, Any] = {
    "id": "cre_2nXw8rTfZ0aYcQ5LbKdM",
    "created_at": "2026-06-18T09:30:03.000000Z",
    "kind": "usage",
    "amount": -120.5,
    "overage": 0.0,
    "balance": 79_879.5,
    "grant_id": "grt_2nXw8rTfZ0aYcQ5LbKdM",
    "grant_kind": "included",
    "day": "2026-06-18",
    "job_id": None,
    "reason": "",
    "invoice": None,
}


class LedgerQuery(PageQuery, DaysQuery):
    kind = serializers.ChoiceField(CreditEntry.Kind.choices, required=False)
    format = serializers.ChoiceField(
        ["json", "csv"], default="json", help_text="As CSV, all that match come at once."
    )


class LedgerLine(serializers.Serializer[Any]):
    """A line of the ledger, which is never changed. `amount` changes the balance; `balance` is what it then was."""

    id = serializers.CharField(source="uid")
    created_at = serializers.DateTimeField()
    kind = serializers.ChoiceField(CreditEntry.Kind.choices)
    amount = serializers.FloatField()
    overage = serializers.FloatField(
        help_text="Credits that are billed instead; below 0, that are no longer billed."
    )
    balance = serializers.FloatField()
    grant_id = serializers.CharField(source="grant.uid", default=None, allow_null=True)
    grant_kind = serializers.ChoiceField(
        CreditGrant.Kind.choices, source="grant.kind", default=None, allow_null=True
    )
    day = serializers.DateField(allow_null=True, help_text="The day that it was used on.")
    job_id = serializers.SerializerMethodField(help_text="Where it is about one job.")
    reason = serializers.CharField()
    invoice = serializers.SerializerMethodField(
        help_text="The number of the invoice by which it was bought, or which bills it; null for none."
    )

    def get_job_id(self, entry: CreditEntry) -> str | None:
        return entry.job_id or None

    def get_invoice(self, entry: CreditEntry) -> str | None:
        numbers: dict[int, str] = self.context["invoice_numbers"]
        return numbers.get(entry.pk)


class Ledger(APIView):
    permission = Permission.BILLING_VIEW

    @extend_schema(
        operation_id="list_credit_entries",
        summary="List the ledger of credits",
        description="Each credit that came and went, newest first. Usage is told by day, some minutes after it was "
        "reported; what is left at this moment is in the summary. `since` and `until` are days on which lines were "
        "written.",
        tags=["billing"],
        parameters=[LedgerQuery, ORG_ID],
        responses={
            (200, "application/json"): page_schema("CreditEntryList", LedgerLine),
            (200, "text/csv"): OpenApiTypes.STR,
        },
        examples=[
            OpenApiExample(
                "A page",
                value={"data": [_LINE], "next_cursor": "AAZLUe9xAAAAAAAAAAAAKg"},
                response_only=True,
                media_type="application/json",
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> HttpResponseBase:
        asked = read_query(LedgerQuery, request, and_no_others=True)
        as_csv = asked.pop("format") == "csv"
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        filters = Filters(**asked)
        if as_csv:
            name = f"credits-{request.organization.uid}.csv"
            return spreadsheets.download(name, ledger.csv(request.organization, filters=filters))
        found, older = ledger.page(request.organization, filters=filters, limit=limit, older_than=cursor)
        context = {"invoice_numbers": ledger.invoice_numbers(request.organization, found)}
        lines = LedgerLine(found, many=True, context=context).data
        return Response({"data": lines, "next_cursor": str(older) if older else None})
