"""The API of usage alerts and of the spend cap."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import cursors
from accounts.access import actor_of
from accounts.api.base import (
    ORG_ID,
    Conflict,
    OrganizationRequest,
    PageQuery,
    Person,
    page_schema,
    read_query,
)
from accounts.permissions import Permission
from usage import alert_history, alert_notices, alerts, spending
from usage.models import Product, UsageAlert

_ALERT: dict[str, Any] = {
    "id": "alr_2nXw8rTfZ0aYcQ5LbKdM",
    "name": "Budget of the pilot",
    "metric": "pages",
    "threshold": 8000.0,
    "period": "monthly",
    "api_key_id": None,
    "product": None,
    "enabled": True,
    "created_by": {"id": "usr_4kQm9sTfZ0aYcQ5LbKdM", "name": "Olivia", "email": "olivia@example.com"},
    "created_at": "2026-06-18T09:30:00.000000Z",
    "current": {
        "period_start": "2026-06-01",
        "period_end": "2026-06-30",
        "value": 5120.0,
        "fired_at": None,
    },
}
_FIRING: dict[str, Any] = {
    "id": "trg_7bUq1sVdE3kPzHx9RwGm",
    "metric": "pages",
    "threshold": 8000.0,
    "period": "monthly",
    "period_start": "2026-06-01",
    "period_end": "2026-06-30",
    "api_key_id": None,
    "product": None,
    "value": 8012.0,
    "fired_at": "2026-06-21T14:03:11.512000Z",
    "told_at": "2026-06-21T14:03:11.603000Z",
    "told": [
        {
            "id": "usr_4kQm9sTfZ0aYcQ5LbKdM",
            "name": "Olivia",
            "email": "olivia@example.com",
            "mail": "mailed",
            "emailed_at": "2026-06-21T14:03:40.000000Z",
        }
    ],
    "webhook": {"message_id": "evt_5sKq9rTfZ0aYcQ5LbKdM", "state": "delivered"},
}
_CAP: dict[str, Any] = {
    "amount": 500.0,
    "spend": 312.4,
    "period_start": "2026-06-01",
    "period_end": "2026-06-30",
    "reached": False,
    "reached_until": None,
}


# ── What is answered ─────────────────────────────────────────────────────────────────────────────────────────


class Current(serializers.Serializer[Any]):
    """Where an alert stands in the period it is in."""

    period_start = serializers.DateField(source="start")
    period_end = serializers.DateField(source="end", help_text="The last day.")
    value = serializers.FloatField(help_text="Used so far.")
    fired_at = serializers.DateTimeField(allow_null=True)


class AlertLine(serializers.Serializer[Any]):
    id = serializers.CharField(source="alert.uid")
    name = serializers.CharField(source="alert.name")
    metric = serializers.ChoiceField(UsageAlert.Metric.choices, source="alert.metric")
    threshold = serializers.FloatField(source="alert.threshold", help_text="Dollars, where it is about cost.")
    period = serializers.ChoiceField(UsageAlert.Period.choices, source="alert.period")
    api_key_id = serializers.CharField(source="api_key", allow_null=True)
    product = serializers.ChoiceField(Product.choices, allow_null=True)
    enabled = serializers.BooleanField(source="alert.is_enabled")
    created_by = Person(source="alert.created_by", allow_null=True)
    created_at = serializers.DateTimeField(source="alert.created_at")
    current = Current(source="*")


class ToldLine(serializers.Serializer[Any]):
    id = serializers.CharField(source="person.uid")
    name = serializers.CharField(source="person.name")
    email = serializers.CharField(source="person.email")
    mail = serializers.ChoiceField(["mailed", "waiting", "not mailed", "unknown"])
    emailed_at = serializers.DateTimeField(allow_null=True)


class FiringMessage(serializers.Serializer[Any]):
    message_id = serializers.CharField(source="message")
    state = serializers.ChoiceField(
        ["waiting", "handed over", "delivered", "failed", "unwanted", "refused", "unknown"], source="fate"
    )


class FiringLine(serializers.Serializer[Any]):
    id = serializers.CharField(source="firing.uid")
    metric = serializers.ChoiceField(UsageAlert.Metric.choices, source="firing.metric")
    threshold = serializers.FloatField(source="firing.threshold")
    period = serializers.ChoiceField(UsageAlert.Period.choices, source="firing.period")
    period_start = serializers.DateField(source="firing.period_start")
    period_end = serializers.DateField(source="end", help_text="The last day.")
    api_key_id = serializers.CharField(source="api_key", allow_null=True)
    product = serializers.ChoiceField(Product.choices, allow_null=True)
    value = serializers.FloatField(source="firing.value")
    fired_at = serializers.DateTimeField(source="firing.fired_at")
    told_at = serializers.DateTimeField(source="firing.told_at", allow_null=True)
    told = ToldLine(many=True)
    webhook = FiringMessage(allow_null=True)


class TestAnswer(serializers.Serializer[Any]):
    told = Person(many=True)
    webhook_message_id = serializers.CharField(allow_null=True)


class CapLine(serializers.Serializer[Any]):
    amount = serializers.FloatField(allow_null=True, help_text="Dollars a month; null where there is no cap.")
    spend = serializers.FloatField(source="spent", help_text="Dollars of this month.")
    period_start = serializers.DateField(source="month.start")
    period_end = serializers.DateField(source="month.last", help_text="The last day.")
    reached = serializers.BooleanField(source="is_reached")
    reached_until = serializers.DateTimeField(
        allow_null=True, help_text="Until when requests are refused, if the cap is reached."
    )


# ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────


class AlertChange(serializers.Serializer[Any]):
    name = serializers.CharField(required=False, allow_blank=True, max_length=alerts.LONGEST_NAME)
    metric = serializers.ChoiceField(UsageAlert.Metric.choices)
    threshold = serializers.DecimalField(
        max_digits=20, decimal_places=6, help_text="Pages, credits, or dollars at list price."
    )
    period = serializers.ChoiceField(
        UsageAlert.Period.choices,
        help_text="Days, weeks (from Monday) and months of the organization's time zone.",
    )
    api_key_id = serializers.CharField(
        required=False, allow_null=True, max_length=40, help_text="Look at this key alone."
    )
    product = serializers.ChoiceField(
        Product.choices, required=False, allow_null=True, help_text="Look at this product alone."
    )
    enabled = serializers.BooleanField(required=False)


class NewAlert(AlertChange):
    percentages = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=alerts.LARGEST_PERCENTAGE),
        required=False,
        min_length=1,
        max_length=alerts.MOST_AT_ONCE,
        help_text="Make an alert at each of these percentages of the threshold, instead of one at all of it.",
    )


class CapChange(serializers.Serializer[Any]):
    amount = serializers.DecimalField(
        max_digits=20, decimal_places=2, min_value=Decimal("0.01"), help_text="Dollars a month."
    )


def _fields(request: OrganizationRequest, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a call asks for, by the names of an alert's columns."""
    fields = dict(asked)
    if "enabled" in fields:
        fields["is_enabled"] = fields.pop("enabled")
    if "product" in fields:
        fields["product"] = fields["product"] or ""
    if "api_key_id" in fields:
        uid = fields.pop("api_key_id")
        fields["api_key"] = request.organization.api_keys.filter(uid=uid).first() if uid else None
        if uid and fields["api_key"] is None:
            raise serializers.ValidationError({"api_key_id": "There is no such key in this organization."})
    return fields


# ── Alerts ───────────────────────────────────────────────────────────────────────────────────────────────────

_ONE = OpenApiExample("The alert", value=_ALERT, response_only=True)


class Alerts(APIView):
    permission = Permission.ALERTS_VIEW
    permission_to_change = Permission.ALERTS_MANAGE

    @extend_schema(
        operation_id="list_alerts",
        summary="List usage alerts",
        description="Newest first, each with where it stands in its current period.",
        tags=["alerts"],
        parameters=[PageQuery, ORG_ID],
        responses=page_schema("AlertList", AlertLine),
        examples=[
            OpenApiExample("A page", value={"data": [_ALERT], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        asked = read_query(PageQuery, request)
        page, older = cursors.page(_all(request), limit=asked["limit"], older_than=asked.get("cursor"))
        states = alert_history.states(request.organization, page) if page else []
        return Response(
            {"data": AlertLine(states, many=True).data, "next_cursor": str(older) if older else None}
        )

    @extend_schema(
        operation_id="create_alert",
        summary="Create usage alerts",
        description="Answers the alert; with `percentages`, `data` with one for each of them. An alert looks at the "
        "whole organization, at one key or at one product. If its current period has reached the threshold already, "
        "it fires. 409 when there is an alert with the same rule already, or when the organization would have more "
        f"than {alerts.MOST} alerts.",
        tags=["alerts"],
        parameters=[ORG_ID],
        request=NewAlert,
        responses={
            201: PolymorphicProxySerializer(
                component_name="AlertOrAlerts",
                serializers=[AlertLine, inline_serializer("AlertsMade", {"data": AlertLine(many=True)})],
                resource_type_field_name=None,
            )
        },
        examples=[
            OpenApiExample(
                "At half, four fifths and all of 10,000 pages a month",
                value={
                    "metric": "pages",
                    "threshold": 10000,
                    "period": "monthly",
                    "percentages": [50, 80, 100],
                },
                request_only=True,
            ),
            _ONE,
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        asked = NewAlert(data=request.data)
        asked.is_valid(raise_exception=True)
        fields = _fields(request, asked.validated_data)
        percentages = fields.pop("percentages", None)
        threshold = fields.pop("threshold")
        thresholds: dict[Decimal, int] | list[Decimal] = (
            alerts.shares(threshold, percentages, metric=fields["metric"]) if percentages else [threshold]
        )
        try:
            made = alerts.create(
                organization=request.organization,
                thresholds=thresholds,
                actor=actor_of(request),
                **fields,
            )
        except alerts.TooMany as error:
            raise Conflict(f"An organization has at most {alerts.MOST} alerts.") from error
        except alerts.Duplicate as error:
            raise _is_there(error.alert) from error
        except ValidationError as error:
            raise _renamed(error) from error
        lines = AlertLine(alert_history.states(request.organization, made), many=True).data
        return Response({"data": lines} if percentages else lines[0], status=201)


class AlertById(APIView):
    permission = Permission.ALERTS_VIEW
    permission_to_change = Permission.ALERTS_MANAGE

    @extend_schema(
        operation_id="get_alert",
        summary="Get a usage alert",
        tags=["alerts"],
        parameters=[ORG_ID],
        responses=AlertLine,
        examples=[_ONE],
    )
    def get(self, request: OrganizationRequest, alert_uid: str) -> Response:
        return _answer(request, _find(request, alert_uid))

    @extend_schema(
        operation_id="update_alert",
        summary="Change a usage alert",
        description="Fields that are left out stay as they are; `enabled` turns it on and off. An alert whose rule is "
        "changed may fire once more in the same period.",
        tags=["alerts"],
        parameters=[ORG_ID],
        request=AlertChange(partial=True),
        responses=AlertLine,
        examples=[
            OpenApiExample("Raise it", value={"threshold": 12000}, request_only=True),
            OpenApiExample("The alert", value=_ALERT | {"threshold": 12000.0}, response_only=True),
        ],
    )
    def patch(self, request: OrganizationRequest, alert_uid: str) -> Response:
        alert = _find(request, alert_uid)
        asked = AlertChange(data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        try:
            alerts.update(
                alert=alert, changes=_fields(request, asked.validated_data), actor=actor_of(request)
            )
        except alerts.Duplicate as error:
            raise _is_there(error.alert) from error
        except ValidationError as error:
            raise _renamed(error) from error
        except UsageAlert.DoesNotExist:
            raise Http404 from None
        return _answer(request, alert)

    @extend_schema(
        operation_id="delete_alert",
        summary="Delete a usage alert",
        description="With its history.",
        tags=["alerts"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, alert_uid: str) -> Response:
        alerts.delete(alert=_find(request, alert_uid), actor=actor_of(request))
        return Response(status=204)


class AlertTest(APIView):
    permission = Permission.ALERTS_MANAGE

    @extend_schema(
        operation_id="test_alert",
        summary="Test a usage alert",
        description="Sends a notice that says it is a test to everybody whom the alert would tell, and the webhook "
        "message `usage_alert.triggered` with `is_test`. Nothing counts as fired. Asked twice within a minute, it is "
        "sent once.",
        tags=["alerts"],
        parameters=[ORG_ID],
        request=None,
        responses=TestAnswer,
        examples=[
            OpenApiExample(
                "Who was told",
                value={"told": [_ALERT["created_by"]], "webhook_message_id": "evt_5sKq9rTfZ0aYcQ5LbKdM"},
                response_only=True,
            )
        ],
    )
    def post(self, request: OrganizationRequest, alert_uid: str) -> Response:
        sent = alert_notices.test(_find(request, alert_uid))
        return Response(TestAnswer({"told": sent.people, "webhook_message_id": sent.message}).data)


class AlertFirings(APIView):
    permission = Permission.ALERTS_VIEW

    @extend_schema(
        operation_id="list_alert_firings",
        summary="List the firings of a usage alert",
        description="Newest first: what was used, who was told, and whether it arrived.",
        tags=["alerts"],
        parameters=[PageQuery, ORG_ID],
        responses=page_schema("AlertFiringList", FiringLine),
        examples=[
            OpenApiExample("A page", value={"data": [_FIRING], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest, alert_uid: str) -> Response:
        alert = _find(request, alert_uid)
        asked = read_query(PageQuery, request)
        page, older = cursors.page(
            alert_history.firings_of(alert), limit=asked["limit"], older_than=asked.get("cursor")
        )
        lines = FiringLine(alert_history.arrivals(request.organization, page), many=True).data
        return Response({"data": lines, "next_cursor": str(older) if older else None})


def _all(request: OrganizationRequest) -> "QuerySet[UsageAlert, UsageAlert]":
    found = UsageAlert.objects.filter(organization=request.organization)
    return found.select_related("api_key", "organization", "created_by")


def _find(request: OrganizationRequest, alert_uid: str) -> UsageAlert:
    return get_object_or_404(_all(request), uid=alert_uid)


def _answer(request: OrganizationRequest, alert: UsageAlert) -> Response:
    states = alert_history.states(request.organization, [alert])
    if not states:
        raise Http404
    return Response(AlertLine(states[0]).data)


def _is_there(alert: UsageAlert) -> Conflict:
    return Conflict(f"There is an alert at {alert_history.rule(alert)} already: {alert.uid}.")


def _renamed(error: ValidationError) -> ValidationError:
    """A domain function's complaint by the names that the API uses."""
    names = {"api_key": "api_key_id", "is_enabled": "enabled"}
    return ValidationError({names.get(name, name): said for name, said in error.message_dict.items()})


# ── The spend cap ────────────────────────────────────────────────────────────────────────────────────────────


class SpendCapView(APIView):
    permission = Permission.ALERTS_VIEW
    permission_to_change = Permission.SPEND_CAP_MANAGE

    @extend_schema(
        operation_id="get_spend_cap",
        summary="Get the spend cap",
        description="The cap, if there is one, and what was spent this month.",
        tags=["alerts"],
        parameters=[ORG_ID],
        responses=CapLine,
        examples=[OpenApiExample("The cap", value=_CAP, response_only=True)],
    )
    def get(self, request: OrganizationRequest) -> Response:
        return Response(CapLine(spending.cap_of(request.organization)).data)

    @extend_schema(
        operation_id="set_spend_cap",
        summary="Set the spend cap",
        description="The most that a month of the organization's time zone may cost. Verify answers "
        "SPEND_CAP_REACHED from then on until the month ends. A new cap counts at once, raised or lowered.",
        tags=["alerts"],
        parameters=[ORG_ID],
        request=CapChange,
        responses=CapLine,
        examples=[
            OpenApiExample("500 dollars a month", value={"amount": 500}, request_only=True),
            OpenApiExample("The cap", value=_CAP, response_only=True),
        ],
    )
    def put(self, request: OrganizationRequest) -> Response:
        asked = CapChange(data=request.data)
        asked.is_valid(raise_exception=True)
        spending.set_cap(
            organization=request.organization, amount=asked.validated_data["amount"], actor=actor_of(request)
        )
        return Response(CapLine(spending.cap_of(request.organization)).data)

    @extend_schema(
        operation_id="remove_spend_cap",
        summary="Remove the spend cap",
        description="Nothing limits what may be spent from this moment on.",
        tags=["alerts"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest) -> Response:
        spending.remove_cap(organization=request.organization, actor=actor_of(request))
        return Response(status=204)
