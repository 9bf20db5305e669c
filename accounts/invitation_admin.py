"""Invitations in the back office: found, sent again, taken back."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.decorators import display

from accounts import invitations
from accounts.access import actor_of
from accounts.admin_base import ReadOnlyAdmin, asked_once, back_to, colleague, is_there
from accounts.admin_forms import ToldReasonDialog
from accounts.admin_lists import OF_ORGANIZATION, since
from accounts.models import Invitation

STATE_COLORS = {
    "pending": "info",
    "accepted": "success",
    "declined": "warning",
    "expired": "warning",
    "revoked": "danger",
}


class InvitationState(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in STATE_COLORS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> QuerySet[Invitation]:
        return queryset.in_state(self.value()) if self.value() in STATE_COLORS else queryset  # type: ignore[attr-defined]


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin[Invitation]):
    """Where a letter never arrived, staff send it again, or take the invitation back. They see no link."""

    list_display = ("email", "organization", "role", "colored_state", "invited_by", "sent_at", "expires_at")
    list_filter = (InvitationState, since("created_at"))
    list_select_related = ("organization", "invited_by")
    search_fields = ("~email", "=uid", *OF_ORGANIZATION)
    search_help_text = "E-mail address, id (inv_…), or an organization's name or id (org_…)"
    fields = (
        "email",
        "organization",
        "role",
        "colored_state",
        "uid",
        "invited_by",
        "created_at",
        "sent_at",
        "expires_at",
        "accepted_at",
        "accepted_by",
        "declined_at",
        "revoked_at",
    )
    actions_detail = ("resend", "revoke")

    @display(description="state", label=STATE_COLORS)  # type: ignore[untyped-decorator]
    def colored_state(self, invitation: Invitation) -> str:
        return invitation.state

    def has_open_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("accounts.change_invitation") and is_there(
            Invitation.objects.open(), object_id
        )

    @asked_once(
        "Send again",
        permission="open",
        question="Send this invitation again?",
        follows="A new link works for 7 days, and the one before no longer does.",
        form_class=ToldReasonDialog,
    )
    def resend(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        invitation = get_object_or_404(Invitation.objects.select_related("organization"), pk=object_id)
        try:
            reason = form.cleaned_data["reason"]
            if invitations.resend(invitation=invitation, actor=actor_of(request), reason=reason):
                messages.success(request, f"A new link is on its way to {invitation}.")
        except invitations.TooMany as refusal:
            messages.error(request, str(refusal))
        return back_to(invitation)

    @asked_once(
        "Revoke",
        permission="open",
        question="Revoke this invitation?",
        follows="Its link no longer works. A member can send a new one.",
        is_danger=True,
        form_class=ToldReasonDialog,
    )
    def revoke(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        invitation = get_object_or_404(Invitation.objects.select_related("organization"), pk=object_id)
        reason = form.cleaned_data["reason"]
        invitations.revoke(invitation=invitation, actor=actor_of(request), reason=reason)
        messages.success(request, f"The invitation of {invitation} is revoked.")
        return back_to(invitation)
