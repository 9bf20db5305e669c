"""The API of an organization's members."""

from typing import Any

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import members
from accounts.access import actor_of
from accounts.api.base import (
    ORG_ID,
    OrganizationRequest,
    PageQuery,
    page_of,
    page_schema,
    read_body,
    read_query,
)
from accounts.models import Membership
from accounts.permissions import Permission, Role

_MEMBER: dict[str, Any] = {
    "id": "usr_4kQm9sTfZ0aYcQ5LbKdM",
    "name": "Mia",
    "email": "mia@example.com",
    "role": "member",
    "two_factor": True,
    "joined_at": "2026-06-18T09:30:00.000000Z",
    "last_active_at": "2026-11-20T08:05:12.000000Z",
}


class MemberLine(serializers.ModelSerializer[Membership]):
    """A person and their role."""

    id = serializers.CharField(source="user.uid", help_text="The person's id.")
    name = serializers.CharField(source="user.name")
    email = serializers.EmailField(source="user.email")
    two_factor = serializers.BooleanField(
        source="has_two_factor", help_text="Whether they sign in with a second factor."
    )
    joined_at = serializers.DateTimeField(source="created_at")
    last_active_at = serializers.DateTimeField(
        allow_null=True, help_text="When they last opened a page here, to within some minutes."
    )

    class Meta:
        model = Membership
        fields = list(_MEMBER)


class RoleChange(serializers.Serializer[Any]):
    role = serializers.ChoiceField(Role.choices)


class Members(APIView):
    permission = Permission.TEAM_VIEW

    @extend_schema(
        operation_id="list_members",
        summary="List members",
        description="The people in the organization, those who joined last first.",
        tags=["members"],
        parameters=[PageQuery, ORG_ID],
        responses=page_schema("MemberList", MemberLine),
        examples=[
            OpenApiExample("A page", value={"data": [_MEMBER], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        return page_of(members.listing(request.organization), read_query(PageQuery, request), MemberLine)


class MemberById(APIView):
    permission = Permission.TEAM_MANAGE

    @extend_schema(
        operation_id="change_role",
        summary="Change a member's role",
        description="Never to or from a role above one's own. The owner's role is handed over instead.",
        tags=["members"],
        parameters=[ORG_ID],
        request=RoleChange,
        responses=MemberLine,
        examples=[
            OpenApiExample("Make somebody an admin", value={"role": "admin"}, request_only=True),
            OpenApiExample("The member", value=_MEMBER | {"role": "admin"}, response_only=True),
        ],
    )
    def patch(self, request: OrganizationRequest, user_uid: str) -> Response:
        membership = _member(request, user_uid)
        role: str = read_body(RoleChange, request)["role"]
        members.change_role(membership=membership, role=role, actor=actor_of(request))
        return Response(MemberLine(_member(request, user_uid)).data)

    @extend_schema(
        operation_id="remove_member",
        summary="Remove a member",
        description="Ends their access at once, and the organization's API keys that they made.",
        tags=["members"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, user_uid: str) -> Response:
        if not members.remove(membership=_member(request, user_uid), actor=actor_of(request)):
            raise Http404
        return Response(status=204)


def _member(request: OrganizationRequest, user_uid: str) -> Membership:
    return get_object_or_404(members.listing(request.organization), user__uid=user_uid)
