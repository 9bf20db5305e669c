"""What a person wants by mail, for their own programs."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import notification_preferences
from accounts.access import AnyPerson, NotYourOrganization, actor_of
from accounts.api.base import read_body
from accounts.models import ApiKey, NoticeKind, User
from accounts.notification_preferences import Place

MOST = 1000
_ORG_ID = OpenApiParameter("orgId", str, description="Only the preferences for this organization.")
_DATA = {
    "data": [
        {"organization_id": None, "kind": "security", "email": True},
        {"organization_id": "org_7bUq1sVdE3kPzHx9RwGm", "kind": "team", "email": False},
    ]
}


class NotificationPreferenceItem(serializers.Serializer[Any]):
    organization_id = serializers.CharField(
        allow_null=True, max_length=40, help_text="Null for notices about the person's account."
    )
    kind = serializers.ChoiceField(NoticeKind.choices)
    email = serializers.BooleanField(help_text="Whether such notices also come by mail.")


class NotificationPreferenceList(serializers.Serializer[Any]):
    data = NotificationPreferenceItem(many=True, allow_empty=False, max_length=MOST)  # type: ignore[assignment, call-arg]


class NotificationPreferences(APIView):
    """A person's own preferences: with a personal key or a session."""

    permission_classes = [AnyPerson]

    @extend_schema(
        operation_id="list_notification_preferences",
        summary="List notification preferences",
        description="Each kind of notice that you may get, for your account and for each of your organizations. "
        "Needs a personal key.",
        tags=["notifications"],
        parameters=[_ORG_ID],
        responses=NotificationPreferenceList,
        examples=[OpenApiExample("Preferences", value=_DATA, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        return Response(_data(_places(request)))

    @extend_schema(
        operation_id="update_notification_preferences",
        summary="Update notification preferences",
        description="Set those that are named; the others stay. The answer has all. Needs a personal key, with "
        "which notices about security can be switched on only.",
        tags=["notifications"],
        parameters=[_ORG_ID],
        request=NotificationPreferenceList,
        responses=NotificationPreferenceList,
        examples=[OpenApiExample("Preferences", value=_DATA)],
    )
    def patch(self, request: Request) -> Response:
        asked = read_body(NotificationPreferenceList, request)
        current = _places(request)
        places = {(_organization_id(place), place.kind.value): place for place in current}
        yours = {organization_id for organization_id, _ in places}
        wanted: dict[Place, bool] = {}
        for item in asked["data"]:
            organization_id, kind = item["organization_id"], item["kind"]
            if organization_id not in yours:
                raise ValidationError({"organization_id": "This is not about an organization of yours."})
            if (organization_id, kind) not in places:
                raise ValidationError({"kind": f"There are no notices about {kind} for you here."})
            wanted[places[organization_id, kind]] = item["email"]
        if isinstance(request.auth, ApiKey) and any(
            place.kind == NoticeKind.SECURITY and current[place] and not by_mail
            for place, by_mail in wanted.items()
        ):
            # Whoever found a key could otherwise go on unseen.
            raise PermissionDenied("Notices about security are switched off by their reader, not by a key.")
        assert isinstance(request.user, User)
        notification_preferences.change(user=request.user, wanted=wanted, actor=actor_of(request))
        return Response(_data(_places(request)))


def _organization_id(place: Place) -> str | None:
    return place.organization.uid if place.organization else None


def _places(request: Request) -> dict[Place, bool]:
    """What the call is about: all, or those of the organization it names. Raises NotYourOrganization."""
    assert isinstance(request.user, User)
    places = notification_preferences.of_person(request.user)
    if org_id := request.query_params.get("orgId"):
        places = {place: by_mail for place, by_mail in places.items() if _organization_id(place) == org_id}
        if not places:
            raise NotYourOrganization("You are not a member of this organization.")
    return places


def _data(places: dict[Place, bool]) -> dict[str, list[dict[str, Any]]]:
    return {
        "data": [
            {"organization_id": _organization_id(place), "kind": place.kind, "email": by_mail}
            for place, by_mail in places.items()
        ]
    }
