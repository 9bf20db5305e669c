"""The API of invitations."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import invitations
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
from accounts.models import Invitation
from accounts.names import LONGEST_ADDRESS, clean_address
from accounts.permissions import Permission, Role

_INVITATION: dict[str, Any] = {
    "id": "inv_9dWx2rTfZ0aYcQ5LbKdM",
    "email": "noor@example.com",
    "role": "member",
    "state": "pending",
    "invited_by": {"id": "usr_4kQm9sTfZ0aYcQ5LbKdM", "name": "Olivia", "email": "olivia@example.com"},
    "created_at": "2026-11-20T08:05:12.000000Z",
    "sent_at": "2026-11-20T08:05:13.000000Z",
    "expires_at": "2026-11-27T08:05:12.000000Z",
}
_EXAMPLE = OpenApiExample("An invitation", value=_INVITATION, response_only=True)


class InvitationLine(serializers.ModelSerializer[Invitation]):
    """An invitation. Its link is in the letter only."""

    id = serializers.CharField(source="uid")
    state = serializers.ChoiceField(["pending", "accepted", "declined", "revoked", "expired"])
    invited_by = Person(allow_null=True)
    sent_at = serializers.DateTimeField(
        allow_null=True, help_text="Null while no mail server has taken the letter: resend it."
    )

    class Meta:
        model = Invitation
        fields = list(_INVITATION)


class NewInvitation(serializers.Serializer[Any]):
    email = serializers.CharField(max_length=LONGEST_ADDRESS)
    role = serializers.ChoiceField([choice for choice in Role.choices if choice[0] != Role.OWNER])

    def validate_email(self, email: str) -> str:
        return clean_address(email)


class Invitations(APIView):
    permission = Permission.TEAM_VIEW
    permission_to_change = Permission.TEAM_MANAGE

    @extend_schema(
        operation_id="list_invitations",
        summary="List invitations",
        description="Invitations in whatever state, newest first.",
        tags=["invitations"],
        parameters=[PageQuery, ORG_ID],
        responses=page_schema("InvitationList", InvitationLine),
        examples=[
            OpenApiExample("A page", value={"data": [_INVITATION], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        own = request.organization.invitations.select_related("invited_by")
        return page_of(own, read_query(PageQuery, request), InvitationLine)

    @extend_schema(
        operation_id="create_invitation",
        summary="Invite somebody",
        description="Sends a letter with a link that works once, for 7 days. Never for a role above one's own. "
        "409 when the address is a member's or has an open invitation.",
        tags=["invitations"],
        parameters=[ORG_ID],
        request=NewInvitation,
        responses={201: InvitationLine},
        examples=[
            OpenApiExample(
                "Invite", value={"email": "noor@example.com", "role": "member"}, request_only=True
            ),
            _EXAMPLE,
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        asked = read_body(NewInvitation, request)
        try:
            made = invitations.invite(organization=request.organization, actor=actor_of(request), **asked)
        except invitations.AlreadyThere as refusal:
            raise Conflict({"email": str(refusal)}) from refusal
        except invitations.TooMany as refusal:
            raise Throttled(detail=str(refusal)) from refusal
        return Response(InvitationLine(_invitation(request, made.uid)).data, status=201)


class InvitationById(APIView):
    permission = Permission.TEAM_MANAGE

    @extend_schema(
        operation_id="revoke_invitation",
        summary="Revoke an invitation",
        description="Its link no longer works. 409 when it has been answered already.",
        tags=["invitations"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, invitation_uid: str) -> Response:
        invitation = _invitation(request, invitation_uid)
        if not invitations.revoke(invitation=invitation, actor=actor_of(request)):
            raise _ended(request, invitation_uid)
        return Response(status=204)


class InvitationResend(APIView):
    permission = Permission.TEAM_MANAGE

    @extend_schema(
        operation_id="resend_invitation",
        summary="Send an invitation again",
        description="A new link for 7 days; the one before no longer works. 409 when it has been answered or revoked.",
        tags=["invitations"],
        parameters=[ORG_ID],
        request=None,
        responses=InvitationLine,
        examples=[_EXAMPLE],
    )
    def post(self, request: OrganizationRequest, invitation_uid: str) -> Response:
        invitation = _invitation(request, invitation_uid)
        try:
            if not invitations.resend(invitation=invitation, actor=actor_of(request)):
                raise _ended(request, invitation_uid)
        except invitations.TooMany as refusal:
            raise Throttled(detail=str(refusal)) from refusal
        return Response(InvitationLine(_invitation(request, invitation_uid)).data)


def _invitation(request: OrganizationRequest, uid: str) -> Invitation:
    own = request.organization.invitations.select_related("organization", "invited_by")
    return get_object_or_404(own, uid=uid)


def _ended(request: OrganizationRequest, uid: str) -> Conflict:
    return Conflict(f"This invitation is {_invitation(request, uid).state} already.")
