"""The API of organizations: those of the caller, and the settings of one."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import CharField, F, QuerySet, Value
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import organizations, two_factor
from accounts.access import AnyCustomer, actor_of
from accounts.api.base import (
    Conflict,
    OrganizationRequest,
    PageQuery,
    page_of,
    page_schema,
    read_body,
    read_query,
)
from accounts.models import ApiKey, Organization, User
from accounts.permissions import Permission, Role, Scope

_LINE: dict[str, Any] = {
    "id": "org_7bUq1sVdE3kPzHx9RwGm",
    "name": "Northwind",
    "role": "owner",
    "created_at": "2026-11-20T08:05:12.000000Z",
}
_SETTINGS: dict[str, Any] = {
    "id": "org_7bUq1sVdE3kPzHx9RwGm",
    "name": "Northwind",
    "billing_email": "billing@example.com",
    "time_zone": "UTC",
    "next_time_zone": "Europe/Berlin",
    "next_time_zone_at": "2026-11-20T23:00:00.000000Z",
    "default_region": "eu",
    "only_owner_manages_keys": False,
    "support_may_look": True,
    "two_factor_required_from": None,
    "retention_days": 30,
    "created_at": "2026-11-20T08:05:12.000000Z",
}
_EXAMPLE = OpenApiExample("An organization", value=_SETTINGS, response_only=True)


class OrganizationLine(serializers.ModelSerializer[Organization]):
    """An organization of the caller."""

    id = serializers.CharField(source="uid")
    role = serializers.ChoiceField(
        Role.choices,
        allow_null=True,
        help_text="Whoever calls has it there; null for an organization's own key.",
    )

    class Meta:
        model = Organization
        fields = list(_LINE)


class OrganizationSettings(serializers.ModelSerializer[Organization]):
    """An organization and its settings."""

    id = serializers.CharField(source="uid")
    time_zone = serializers.CharField(source="zone", help_text="Its midnights cut days and months.")
    next_time_zone = serializers.SerializerMethodField(
        help_text="The zone that takes over at `next_time_zone_at`; null when none is chosen."
    )
    next_time_zone_at = serializers.SerializerMethodField()
    retention_days = serializers.IntegerField(
        allow_null=True, help_text="How long job details are kept; null for as long as the plan allows."
    )

    class Meta:
        model = Organization
        fields = list(_SETTINGS)

    def get_next_time_zone(self, organization: Organization) -> str | None:
        return organization.next_time_zone if self._waits(organization) else None

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_time_zone_at(self, organization: Organization) -> Any:
        field = serializers.DateTimeField()
        at = organization.next_time_zone_at
        return field.to_representation(at) if at and self._waits(organization) else None

    def _waits(self, organization: Organization) -> bool:
        return organization.next_time_zone not in ("", organization.zone.key)


class NewOrganization(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=organizations.LONGEST_NAME)
    time_zone = serializers.CharField(default="UTC", help_text="An IANA name, such as Europe/Berlin.")


class OrganizationChanges(serializers.Serializer[Any]):
    """What is left out stays as it is."""

    name = serializers.CharField(max_length=organizations.LONGEST_NAME)
    billing_email = serializers.CharField(max_length=254, allow_blank=True)
    time_zone = serializers.CharField(help_text="An IANA name. It counts from its next midnight.")
    default_region = serializers.CharField(max_length=32, allow_blank=True)
    only_owner_manages_keys = serializers.BooleanField(help_text="Only the owner may change it.")
    support_may_look = serializers.BooleanField(
        help_text="Whether our support may see your pages as a member does, changing nothing."
    )
    two_factor_required_from = serializers.DateTimeField(
        allow_null=True,
        help_text="Needs a second factor of one's own. Within a year; a moment in the past means now.",
    )
    retention_days = serializers.IntegerField(
        min_value=0,
        max_value=organizations.LONGEST_RETENTION,
        allow_null=True,
        help_text="No more than the plan allows; 0 keeps nothing beyond delivery.",
    )

    def validate_two_factor_required_from(self, moment: datetime | None) -> datetime | None:
        if moment and moment > timezone.now() + two_factor.LONGEST_WARNING:
            raise serializers.ValidationError("Choose a moment within a year.")
        return moment


class Organizations(APIView):
    permission_classes = [AnyCustomer]

    @extend_schema(
        operation_id="list_organizations",
        summary="List organizations",
        description="Those that the owner of a personal key belongs to, newest first; with an organization's key, that "
        "one. Their ids are what `orgId` takes, so any key may ask.",
        tags=["organizations"],
        parameters=[PageQuery],
        responses=page_schema("OrganizationList", OrganizationLine),
        examples=[OpenApiExample("A page", value={"data": [_LINE], "next_cursor": None}, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        return page_of(_of_caller(request), read_query(PageQuery, request), OrganizationLine)

    @extend_schema(
        operation_id="create_organization",
        summary="Create an organization",
        description="The owner of the personal key owns it. A key needs the scope `team` or `ownership`.",
        tags=["organizations"],
        request=NewOrganization,
        responses={201: OrganizationSettings},
        examples=[_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        _require_scope(request)
        if not isinstance(request.user, User):
            raise PermissionDenied("Only a person can own an organization: use a personal key.")
        asked = read_body(NewOrganization, request)
        try:
            organization = organizations.create(owner=request.user, actor=actor_of(request), **asked)
        except organizations.TooMany as error:
            raise Conflict(str(error)) from error
        return Response(OrganizationSettings(organization).data, status=201)


class OrganizationById(APIView):
    permission = Permission.ORGANIZATION_VIEW
    permission_to_change = Permission.ORGANIZATION_MANAGE

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "DELETE":
            self.permission_to_change = Permission.ORGANIZATION_DELETE
        super().initial(request, *args, **kwargs)

    @extend_schema(
        operation_id="get_organization",
        summary="Read the settings",
        tags=["organizations"],
        responses=OrganizationSettings,
        examples=[_EXAMPLE],
    )
    def get(self, request: OrganizationRequest, organization_uid: str) -> Response:
        return Response(OrganizationSettings(request.organization).data)

    @extend_schema(
        operation_id="update_organization",
        summary="Change the settings",
        tags=["organizations"],
        request=OrganizationChanges(partial=True),
        responses=OrganizationSettings,
        examples=[_EXAMPLE],
    )
    def patch(self, request: OrganizationRequest, organization_uid: str) -> Response:
        changes = read_body(OrganizationChanges, request, partial=True)
        if (
            "only_owner_manages_keys" in changes
            and Permission.ORGANIZATION_TRANSFER not in request.standing.granted
        ):
            raise PermissionDenied("Only the owner may change only_owner_manages_keys.")
        _change(request, changes)
        return Response(OrganizationSettings(request.organization).data)

    @extend_schema(
        operation_id="delete_organization",
        summary="Delete the organization",
        description="For its owner, with the scope `ownership`. Its keys stop working at once, this one too. For 30 "
        "days the support staff can bring it back; then it is erased.",
        tags=["organizations"],
        parameters=[
            OpenApiParameter(
                "confirm",
                str,
                required=True,
                description="The organization's exact name, so that no slip deletes it.",
            )
        ],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, organization_uid: str) -> Response:
        if not organizations.is_name_of(request.organization, request.query_params.get("confirm", "")):
            raise ValidationError({"confirm": "Give the organization's exact name to confirm."})
        organizations.delete(organization=request.organization, actor=actor_of(request))
        return Response(status=204)


@transaction.atomic
def _change(request: OrganizationRequest, changes: dict[str, Any]) -> None:
    organization, actor = request.organization, actor_of(request)
    own = {name: value for name, value in changes.items() if name in organizations.CHANGEABLE}
    organizations.update(organization=organization, changes=own, actor=actor)
    if "two_factor_required_from" in changes:
        try:
            two_factor.require(
                organization=organization, from_=changes["two_factor_required_from"], actor=actor
            )
        except two_factor.ActorLacksDevice:
            raise ValidationError(
                {"two_factor_required_from": "Set up your own second factor first."}
            ) from None


def _require_scope(request: Request) -> None:
    """Make sure that a key was made for such things: it may do no more than its scopes say."""
    if isinstance(request.auth, ApiKey) and not {Scope.TEAM, Scope.OWNERSHIP} & set(request.auth.scopes):
        raise PermissionDenied("This needs a key with the scope team or ownership.")


def _of_caller(request: Request) -> QuerySet[Organization]:
    if isinstance(request.user, User):
        return Organization.objects.of(request.user).annotate(role=F("memberships__role"))
    assert isinstance(request.auth, ApiKey)
    return Organization.objects.filter(api_keys=request.auth).annotate(
        role=Value(None, output_field=CharField())
    )
