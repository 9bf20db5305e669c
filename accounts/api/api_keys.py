"""The API of keys: an organization's, and one's own.

Nobody gets a secret from here that may do more than they, and no key gives another what it lacks itself.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import keys
from accounts.access import actor_of
from accounts.api.base import (
    ORG_ID,
    Conflict,
    OrganizationRequest,
    PageQuery,
    Person,
    page_of,
    page_schema,
    read_body,
    read_query,
)
from accounts.models import ApiKey, User
from accounts.permissions import DEFAULT_SCOPES, SCOPE_PERMISSIONS, Permission, Scope, of_scopes

_KEY: dict[str, Any] = {
    "id": "key_2nXw8rTfZ0aYcQ5LbKdM",
    "kind": "organization",
    "name": "checkout",
    "environment": "production",
    "scopes": ["jobs", "usage", "webhooks"],
    "state": "active",
    "prefix": "ch_production_a1B2",
    "last_four": "9xYz",
    "allowed_ips": ["203.0.113.0/24"],
    "requests_per_minute": None,
    "monthly_credit_budget": 5000.0,
    "budget_reached_until": None,
    "created_by": {"id": "usr_4kQm9sTfZ0aYcQ5LbKdM", "name": "Olivia", "email": "olivia@example.com"},
    "created_at": "2026-06-18T09:30:00.000000Z",
    "expires_at": None,
    "last_used_at": "2026-11-20T08:05:12.000000Z",
    "rotated_at": None,
    "previous_last_four": None,
    "previous_expires_at": None,
    "disabled_at": None,
    "revoked_at": None,
}
_SECRET = {"key": "ch_production_a1B2…9xYz"}
_KINDS = (ApiKey.Kind.ORGANIZATION, ApiKey.Kind.PERSONAL)


class KeyLine(serializers.ModelSerializer[ApiKey]):
    """A key, without its secret."""

    id = serializers.CharField(source="uid")
    kind = serializers.ChoiceField(_KINDS)
    state = serializers.ChoiceField(["active", "disabled", "expired", "revoked"])
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    allowed_ips = serializers.ListField(
        child=serializers.CharField(), help_text="Networks it may be used from; empty for any."
    )
    budget_reached_until = serializers.DateTimeField(
        allow_null=True, help_text="Until when it is refused, its budget of the month being used up."
    )
    created_by = Person(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To within a minute.")
    previous_last_four = serializers.SerializerMethodField(
        help_text="Of the secret before the last rotation."
    )
    previous_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when the secret before the last rotation works."
    )

    class Meta:
        model = ApiKey
        fields = list(_KEY)

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_previous_last_four(self, key: ApiKey) -> str | None:
        return key.previous_last_four or None


class KeyWithSecret(KeyLine):
    """A key with its secret, which is in no other answer."""

    key = serializers.SerializerMethodField(help_text="The secret. Keep it: it is never shown again.")

    class Meta(KeyLine.Meta):
        fields = [*KeyLine.Meta.fields, "key"]

    def get_key(self, key: ApiKey) -> str:
        secret: str = self.context["secret"]
        return secret


class KeysQuery(PageQuery):
    kind = serializers.ChoiceField(
        _KINDS, default=ApiKey.Kind.ORGANIZATION, help_text="The organization's keys, or one's own."
    )
    state = serializers.ChoiceField(["active", "disabled", "expired", "revoked"], required=False)
    environment = serializers.ChoiceField(ApiKey.Environment.choices, required=False)


class KeyChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=keys.LONGEST_NAME)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=40),
        required=False,
        max_length=50,
        help_text=f"Any of {', '.join(Scope.values)}. A new key has {', '.join(DEFAULT_SCOPES)} by default.",
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Within ten years; null for never."
    )
    allowed_ips = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        max_length=keys.MOST_NETWORKS,
        help_text="Addresses and networks (CIDR), IPv4 or IPv6; empty for any.",
    )
    requests_per_minute = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=keys.MOST_REQUESTS_PER_MINUTE,
        help_text="Beside the limit of the organization; null for no limit of its own.",
    )
    monthly_credit_budget = serializers.DecimalField(
        max_digits=18,
        decimal_places=6,
        required=False,
        allow_null=True,
        min_value=0,
        help_text="Credits a month of the organization's time zone; null for no budget.",
    )


class NewKey(KeyChange):
    kind = serializers.ChoiceField(
        _KINDS, default=ApiKey.Kind.ORGANIZATION, help_text="The organization's, or one's own."
    )
    environment = serializers.ChoiceField(
        ApiKey.Environment.choices, default=ApiKey.Environment.PRODUCTION, help_text="Part of the key."
    )


@extend_schema_field({"oneOf": [{"type": "string", "enum": list(keys.GRACES)}, {"type": "integer"}]})
class GraceField(serializers.Field[timedelta, Any, str, Any]):
    """How long the old secret goes on working: a name of `keys.GRACES`, or seconds."""

    def to_internal_value(self, data: Any) -> timedelta:
        longest = max(keys.GRACES.values())
        if isinstance(data, str) and data in keys.GRACES:
            return keys.GRACES[data]
        if type(data) is int and 0 <= data <= longest.total_seconds():
            return timedelta(seconds=data)
        raise serializers.ValidationError(
            f"One of {', '.join(keys.GRACES)}, or seconds from 0 to {longest.total_seconds():.0f}."
        )

    def to_representation(self, value: timedelta) -> str:
        return str(value)


class Rotation(serializers.Serializer[Any]):
    grace = GraceField(
        required=False,
        help_text="How long the old secret goes on working, by name or in seconds. By default 24 hours.",
    )


_LINE = OpenApiExample("The key", value=_KEY, response_only=True)
_WITH_SECRET = OpenApiExample("The key with its secret", value=_KEY | _SECRET, response_only=True)


class ApiKeys(APIView):
    permission = Permission.API_KEYS_VIEW

    @extend_schema(
        operation_id="list_api_keys",
        summary="List API keys",
        description="The organization's keys, or with `kind=personal` one's own at home in it, newest first; those "
        "that have ended as well.",
        tags=["api-keys"],
        parameters=[KeysQuery, ORG_ID],
        responses=page_schema("ApiKeyList", KeyLine),
        examples=[OpenApiExample("A page", value={"data": [_KEY], "next_cursor": None}, response_only=True)],
    )
    def get(self, request: OrganizationRequest) -> Response:
        asked = read_query(KeysQuery, request)
        found = ApiKey.objects.filter(organization=request.organization, kind=asked["kind"])
        if asked["kind"] == ApiKey.Kind.PERSONAL:
            found = found.filter(user=_person(request))
        if "environment" in asked:
            found = found.filter(environment=asked["environment"])
        if "state" in asked:
            found = found.in_state(asked["state"])
        return page_of(found.select_related("created_by"), asked, KeyLine)

    @extend_schema(
        operation_id="create_api_key",
        summary="Create an API key",
        description="Answers the secret as `key`, this once. Of the kind `organization` it needs api_keys:manage. Of "
        "the kind `personal` it is one's own, with this organization as its home. Scopes are limited to what the "
        "caller may do.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        request=NewKey,
        responses={201: KeyWithSecret},
        examples=[
            OpenApiExample(
                "A key for one machine",
                value={"name": "checkout", "environment": "production", "allowed_ips": ["203.0.113.7"]},
                request_only=True,
            ),
            _WITH_SECRET,
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        fields = read_body(NewKey, request)
        fields.setdefault("scopes", list(DEFAULT_SCOPES))
        kind = fields.pop("kind")
        if kind == ApiKey.Kind.ORGANIZATION:
            _require_manage(request)
        person = _person(request) if kind == ApiKey.Kind.PERSONAL else None
        # Of a key that the system made nobody stands behind, so there is nobody else to be bounded by.
        _require_giving(request, fields["scopes"], request.standing.of_person or frozenset(Permission))
        actor = actor_of(request)
        if person:
            key, secret = keys.create_personal_key(
                user=person, organization=request.organization, actor=actor, **fields
            )
        else:
            key, secret = keys.create_organization_key(
                organization=request.organization, actor=actor, **fields
            )
        return _shown_once(key, secret, status=201)


class ApiKeyById(APIView):
    permission = Permission.API_KEYS_VIEW

    @extend_schema(
        operation_id="get_api_key",
        summary="Get an API key",
        description="A key of the organization, or one's own.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        responses=KeyLine,
        examples=[_LINE],
    )
    def get(self, request: OrganizationRequest, key_uid: str) -> Response:
        return Response(KeyLine(_find(request, key_uid)).data)

    @extend_schema(
        operation_id="update_api_key",
        summary="Change an API key",
        description="Its name and what it may do, from this moment on. Fields that are left out stay as they are. 409 "
        "when it is revoked.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        request=KeyChange(partial=True),
        responses=KeyLine,
        examples=[
            OpenApiExample("Limit it", value={"requests_per_minute": 60}, request_only=True),
            OpenApiExample("The key", value=_KEY | {"requests_per_minute": 60}, response_only=True),
        ],
    )
    def patch(self, request: OrganizationRequest, key_uid: str) -> Response:
        key = _find(request, key_uid, to_change=True)
        changes = read_body(KeyChange, request, partial=True)
        if "scopes" in changes:
            added = [scope for scope in changes["scopes"] if scope not in key.scopes]
            _require_giving(request, added, keys.bound(key))
        try:
            keys.update(key=key, changes=changes, actor=actor_of(request))
        except keys.Ended as error:
            raise Conflict("This key is revoked: nothing of it can change any more.") from error
        return Response(KeyLine(key).data)

    @extend_schema(
        operation_id="revoke_api_key",
        summary="Revoke an API key",
        description="Ends it for good: requests with it are refused from this moment on.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, key_uid: str) -> Response:
        keys.revoke(key=_find(request, key_uid, to_change=True), actor=actor_of(request))
        return Response(status=204)


class ApiKeyRotate(APIView):
    permission = Permission.API_KEYS_VIEW

    @extend_schema(
        operation_id="rotate_api_key",
        summary="Rotate an API key",
        description="Gives the key a new secret, answered as `key` this once. Its id, limits and usage go on, and the "
        "old secret works for as long as `grace` says. 409 while the grace of an earlier rotation runs, and when the "
        "key has ended; 403 when it may do more than the caller.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        request=Rotation,
        responses=KeyWithSecret,
        examples=[
            OpenApiExample("Within a day", value={"grace": "24 hours"}, request_only=True),
            _WITH_SECRET,
        ],
    )
    def post(self, request: OrganizationRequest, key_uid: str) -> Response:
        key = _find(request, key_uid, to_change=True)
        grace: timedelta = read_body(Rotation, request).get("grace", keys.GRACES["24 hours"])
        if not _may_hold(request, key):
            raise PermissionDenied("This key may do more than the caller, who may not have its secret.")
        try:
            secret = keys.rotate(key=key, grace=grace, actor=actor_of(request))
        except keys.StillInGrace as error:
            raise Conflict(
                "The secret before the last rotation still works, or somebody just rotated it."
            ) from error
        except keys.Ended as error:
            raise Conflict(f"This key is {key.state} and cannot be rotated.") from error
        return _shown_once(key, secret, status=200)


class ApiKeyEndGrace(APIView):
    permission = Permission.API_KEYS_VIEW

    @extend_schema(
        operation_id="end_api_key_grace",
        summary="Stop the secret before the last rotation",
        description="The old secret stops working now. Where none works any more, nothing changes.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        request=None,
        responses=KeyLine,
        examples=[_LINE],
    )
    def post(self, request: OrganizationRequest, key_uid: str) -> Response:
        key = _find(request, key_uid, to_change=True)
        keys.end_grace(key=key, actor=actor_of(request))
        return Response(KeyLine(key).data)


class ApiKeyEnable(APIView):
    permission = Permission.API_KEYS_VIEW

    @extend_schema(
        operation_id="enable_api_key",
        summary="Enable an API key",
        description="Lets a disabled key work again. 409 when it is revoked.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        request=None,
        responses=KeyLine,
        examples=[_LINE],
    )
    def post(self, request: OrganizationRequest, key_uid: str) -> Response:
        return _switch(request, key_uid, keys.enable)


class ApiKeyDisable(APIView):
    permission = Permission.API_KEYS_VIEW

    @extend_schema(
        operation_id="disable_api_key",
        summary="Disable an API key",
        description="Stops it until it is enabled again. 409 when it is revoked.",
        tags=["api-keys"],
        parameters=[ORG_ID],
        request=None,
        responses=KeyLine,
        examples=[
            OpenApiExample(
                "The key",
                value=_KEY | {"state": "disabled", "disabled_at": "2026-11-20T08:07:00.000000Z"},
                response_only=True,
            )
        ],
    )
    def post(self, request: OrganizationRequest, key_uid: str) -> Response:
        return _switch(request, key_uid, keys.disable)


def _switch(request: OrganizationRequest, key_uid: str, change: Callable[..., bool]) -> Response:
    key = _find(request, key_uid, to_change=True)
    change(key=key, actor=actor_of(request))
    if key.revoked_at:
        raise Conflict("This key is revoked, for good.")
    return Response(KeyLine(key).data)


def _find(request: OrganizationRequest, key_uid: str, *, to_change: bool = False) -> ApiKey:
    """A key of the organization, or one's own wherever its home is; others are not there."""
    person = request.user if isinstance(request.user, User) else None
    found = ApiKey.objects.visible_to(person, request.organization)
    key = get_object_or_404(found.select_related("organization", "created_by"), uid=key_uid)
    if to_change and key.kind == ApiKey.Kind.ORGANIZATION:
        _require_manage(request)
    return key


def _person(request: OrganizationRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("Personal keys are a person's: use a personal key, or sign in.")
    return request.user


def _require_manage(request: OrganizationRequest) -> None:
    if Permission.API_KEYS_MANAGE not in request.standing.granted:
        raise PermissionDenied(f"This needs the permission {Permission.API_KEYS_MANAGE}.")


def _require_giving(
    request: OrganizationRequest, scopes: Iterable[str], bound: frozenset[Permission]
) -> None:
    """Refuse scopes by which a key bounded so could do what this call may not. What is no scope is refused later."""
    for scope in scopes:
        given = SCOPE_PERMISSIONS[Scope(scope)] & bound if scope in Scope.values else None
        if given is not None and not (given and given <= request.standing.granted):
            raise serializers.ValidationError({"scopes": f"You may not give a key the scope {scope}."})


def _may_hold(request: OrganizationRequest, key: ApiKey) -> bool:
    """Whether this call may be told a secret of this key, which must not do more than the call itself."""
    if key.kind == ApiKey.Kind.ORGANIZATION:
        return keys.rights(key) <= request.standing.granted
    # One's own key. It acts in all of one's organizations, so a key that asks for it needs the scopes themselves.
    caller = request.auth
    return not isinstance(caller, ApiKey) or of_scopes(key.scopes) <= of_scopes(caller.scopes)


def _shown_once(key: ApiKey, secret: str, *, status: int) -> Response:
    answer = KeyWithSecret(key, context={"secret": secret}).data
    return Response(answer, status=status, headers={"Cache-Control": "no-store"})
