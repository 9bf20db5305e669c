"""The API by which an organization is handed over."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import members, ownership, permissions
from accounts.access import AnyPerson, actor_of, require_two_factor
from accounts.api.base import Conflict, OrganizationRequest, Person, read_body
from accounts.api.members import MemberLine
from accounts.models import ApiKey, Membership, Organization, OwnershipOffer, User
from accounts.permissions import Permission

_OFFER: dict[str, Any] = {
    "id": "own_3bHt7rTfZ0aYcQ5LbKdM",
    "to": {"id": "usr_4kQm9sTfZ0aYcQ5LbKdM", "name": "Mia", "email": "mia@example.com"},
    "offered_by": {"id": "usr_8cWn1rTfZ0aYcQ5LbKdM", "name": "Olivia", "email": "olivia@example.com"},
    "created_at": "2026-11-20T08:05:12.000000Z",
    "expires_at": "2026-11-27T08:05:12.000000Z",
}
_EXAMPLE = OpenApiExample("An offer", value=_OFFER, response_only=True)


class Offer(serializers.ModelSerializer[OwnershipOffer]):
    """An offer of ownership that may be accepted."""

    id = serializers.CharField(source="uid")
    to = Person()
    offered_by = Person()

    class Meta:
        model = OwnershipOffer
        fields = list(_OFFER)


class NewOffer(serializers.Serializer[Any]):
    member_id = serializers.CharField(max_length=40, help_text="The id of the member who is to own it.")


class OwnershipTransfer(APIView):
    permission = Permission.TEAM_VIEW
    permission_to_change = Permission.ORGANIZATION_TRANSFER

    @extend_schema(
        operation_id="get_ownership_offer",
        summary="The pending offer of ownership",
        description="404 when there is none.",
        tags=["organizations"],
        responses=Offer,
        examples=[_EXAMPLE],
    )
    def get(self, request: OrganizationRequest, organization_uid: str) -> Response:
        offer = ownership.pending(request.organization)
        if offer is None:
            raise Http404("There is no pending offer.")
        return Response(Offer(offer).data)

    @extend_schema(
        operation_id="offer_ownership",
        summary="Offer an organization to a member",
        description="By its owner. Nothing changes until the member accepts, within 7 days. 409 while another offer "
        "is open.",
        tags=["organizations"],
        request=NewOffer,
        responses={201: Offer},
        examples=[
            OpenApiExample("A member", value={"member_id": "usr_4kQm9sTfZ0aYcQ5LbKdM"}, request_only=True),
            _EXAMPLE,
        ],
    )
    def post(self, request: OrganizationRequest, organization_uid: str) -> Response:
        member_id: str = read_body(NewOffer, request)["member_id"]
        organization = request.organization
        candidate = ownership.candidates(organization).filter(user__uid=member_id).first()
        if candidate is None:
            raise ValidationError({"member_id": "There is no other member with this id."})
        try:
            made = ownership.offer(organization=organization, to=candidate.user, actor=actor_of(request))
        except ownership.NotTransferable as refusal:
            raise ValidationError({"member_id": "There is no other member with this id."}) from refusal
        except ownership.AlreadyOffered as refusal:
            raise Conflict("It is offered to somebody already. End that offer first.") from refusal
        return Response(Offer(made).data, status=201)

    @extend_schema(
        operation_id="cancel_ownership_offer",
        summary="Cancel an offer of ownership",
        tags=["organizations"],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, organization_uid: str) -> Response:
        return _end(request, request.organization)


class OwnershipAcceptance(APIView):
    permission_classes = [AnyPerson]

    @extend_schema(
        operation_id="accept_ownership",
        summary="Accept an organization",
        description="By the member to whom it is offered: a session, or their personal key with the scope team or "
        "ownership. They become the owner, and the owner an admin.",
        tags=["organizations"],
        request=None,
        responses=MemberLine,
    )
    def post(self, request: Request, organization_uid: str) -> Response:
        organization, user = _place(request, organization_uid)
        try:
            ownership.accept(organization=organization, user=user, actor=actor_of(request))
        except ownership.NotOffered:
            raise Http404("There is no pending offer for you.") from None
        return Response(MemberLine(members.listing(organization).get(user=user)).data)

    @extend_schema(
        operation_id="decline_ownership",
        summary="Decline an organization",
        tags=["organizations"],
        responses={204: None},
    )
    def delete(self, request: Request, organization_uid: str) -> Response:
        organization, _ = _place(request, organization_uid)
        return _end(request, organization)


def _place(request: Request, organization_uid: str) -> tuple[Organization, User]:
    """The organization in the path and who calls. For others than its members there is none."""
    user = request.user
    assert isinstance(user, User)
    membership = Membership.objects.of(user).filter(organization__uid=organization_uid).first()
    if membership is None:
        raise Http404
    require_two_factor(membership)
    about_people = {Permission.TEAM_MANAGE, Permission.ORGANIZATION_TRANSFER}
    if isinstance(request.auth, ApiKey) and not about_people & permissions.of_scopes(request.auth.scopes):
        raise PermissionDenied("This needs a key with the scope team or ownership.")
    return membership.organization, user


def _end(request: Request, organization: Organization) -> Response:
    if not ownership.end(organization=organization, actor=actor_of(request)):
        raise Http404("There is no pending offer.")
    return Response(status=204)
