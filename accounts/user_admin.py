"""People in the back office: found, helped to get in, signed out, switched off, and put on the staff."""

import json
from contextlib import suppress
from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, Prefetch, QuerySet, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts import audit, personal_data, sessions, sign_in_letters, staff, two_factor
from accounts.access import actor_of
from accounts.admin_base import ReadOnlyInline, RecordedAdmin, asked_once, back_to, colleague, row_or_404
from accounts.admin_forms import KEPT, Dialog, ReasonDialog, reason_field
from accounts.admin_lists import since
from accounts.models import ApiKey, Membership, User
from accounts.note_admin import NotesOnUser, write_on


class MembershipsOfUser(ReadOnlyInline[Membership, User]):
    model = Membership
    fields = readonly_fields = ("organization", "role", "created_at", "last_active_at")
    verbose_name_plural = "Member of"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return (
            super()
            .get_queryset(request)
            .select_related("organization", "user")
            .order_by("organization__name")
        )


class PersonalKeysOfUser(ReadOnlyInline[ApiKey, User]):
    model = ApiKey
    fk_name = "user"
    fields = readonly_fields = ("name", "masked", "organization", "state", "last_used_at", "created_at")
    verbose_name = "personal key"
    verbose_name_plural = "Personal keys"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).select_related("organization", "user").order_by("-created_at")


class IdentityDialog(Dialog):
    """How support made sure that whoever asks is the person whose account it is."""

    check = forms.ChoiceField(
        label="How you made sure who asks",
        choices=[("", "Choose…"), *two_factor.IdentityCheck.choices],
        widget=UnfoldAdminSelectWidget,
    )
    seen = forms.CharField(
        label="What you saw or heard",
        min_length=10,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="It becomes a note on the person, who may read it in the data that they download.",
    )


class DeleteDialog(Dialog):
    """Why an account ends for good, and its address once more, so that no wrong one does."""

    address = forms.CharField(
        label="Its e-mail address", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )
    reason = reason_field("How they asked, and how you made sure that it was them. " + KEPT)

    def __init__(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.person = _person(object_id)

    def clean_address(self) -> str:
        address: str = self.cleaned_data["address"]
        if User.objects.normalize_email(address.strip()) != self.person.email:
            raise forms.ValidationError("That is not the address of this account.")
        return address


class AppointDialog(Dialog):
    """What somebody is on the staff; offered is what whoever fills it in has themselves.

    It puts in place of what they were as it was opened, so it counts only while they are.
    """

    before = forms.CharField(widget=forms.HiddenInput)
    is_staff = forms.BooleanField(
        label="On the support staff", required=False, widget=UnfoldBooleanSwitchWidget
    )
    groups = forms.ModelMultipleChoiceField(
        Group.objects.none(), required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    is_superuser = forms.BooleanField(
        label="Superuser: may do everything", required=False, widget=UnfoldBooleanSwitchWidget
    )
    reason = reason_field(KEPT)

    def __init__(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        person = _person(object_id)
        self.standing = json.dumps(staff.standing(person))
        have = set(person.groups.all())
        everything = Group.objects.prefetch_related("permissions__content_type")
        offered = [each.pk for each in everything if each in have or staff.may_give(colleague(request), each)]
        groups = self.fields["groups"]
        assert isinstance(groups, forms.ModelMultipleChoiceField)
        groups.queryset = Group.objects.filter(pk__in=offered).order_by("name")
        if not colleague(request).is_superuser:
            del self.fields["is_superuser"]
        self.initial = {
            "before": self.standing,
            "is_staff": person.is_staff,
            "is_superuser": person.is_superuser,
            "groups": list(have),
            "_form_submitted": True,
        }

    def clean(self) -> None:
        if self.cleaned_data.get("before") != self.standing:
            self.add_error("reason", "Somebody else has changed this meanwhile. Look at the person again.")


class PersonKind(admin.SimpleListFilter):
    title = parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("customer", "Customers"), ("staff", "Staff"), ("superuser", "Staff with all permissions")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        match self.value():
            case "customer":
                return queryset.filter(is_staff=False)
            case "staff":
                return queryset.filter(is_staff=True)
            case "superuser":
                return queryset.filter(is_staff=True, is_superuser=True)
        return queryset


class HasSecondFactor(admin.SimpleListFilter):
    title = "two-factor"
    parameter_name = "two_factor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("on", "On"), ("off", "Off")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        has = Exists(TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True))
        if self.value() == "on":
            return queryset.filter(has)
        return queryset.filter(~has) if self.value() == "off" else queryset


@admin.register(User)
class UserAdmin(RecordedAdmin[User]):
    """People sign up, are invited, or are made by `create_staff`. Nobody else ever sets their password or address."""

    changed = audit.Action.USER_UPDATED
    list_display = ("email", "name", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = (PersonKind, "is_active", HasSecondFactor, "groups", since("date_joined", "sign-up"))
    search_fields = ("~name,email", "=uid")
    search_help_text = "E-mail address, name, or id (usr_…)"
    fieldsets = (
        (None, {"fields": ("email", "name", "addresses", "is_active")}),
        ("Signing in", {"fields": ("second_factor", "recovery_codes", "signed_in", "last_login")}),
        ("Staff", {"fields": ("is_staff", "is_superuser", "group_names")}),
        ("For reference", {"fields": ("uid", "date_joined", "trail")}),
    )
    readonly_fields = (
        "email",
        "addresses",
        "is_active",
        "second_factor",
        "recovery_codes",
        "signed_in",
        "last_login",
        "is_staff",
        "is_superuser",
        "group_names",
        "uid",
        "date_joined",
        "trail",
    )
    inlines = (NotesOnUser, MembershipsOfUser, PersonalKeysOfUser)
    actions_detail: Any = (
        "write_note",
        {
            "title": "Signing in",
            "icon": "login",
            "items": ["resend_verification", "send_password_letter", "sign_out", "reset_two_factor"],
        },
        {
            "title": "Account",
            "icon": "manage_accounts",
            "items": ["switch_off", "switch_on", "appoint", "delete_account"],
        },
    )

    # ── What is shown ────────────────────────────────────────────────────────────────────────────────────────

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> User | None:
        """With all that its page tells: each value there is asked for several times."""
        user = super().get_object(request, object_id, from_field)
        if user is not None:
            prefetch_related_objects(
                [user],
                Prefetch("emailaddress_set", EmailAddress.objects.order_by("-primary", "pk")),
                Prefetch("totpdevice_set", TOTPDevice.objects.filter(confirmed=True).order_by("pk")),
                "recoverycodes_set",
                Prefetch("usersession_set", sessions.live()),
                "groups",
            )
        return user

    @admin.display
    def addresses(self, user: User) -> SafeString | str:
        lines = [
            (each.email, "verified" if each.verified else "not verified")
            for each in user.emailaddress_set.all()  # type: ignore[attr-defined]
        ]
        return format_html_join(" · ", "{} ({})", lines) or "–"

    @admin.display
    def second_factor(self, user: User) -> SafeString | str:
        lines = [
            (device.name, f"{device.created_at:%-d %B %Y}" if device.created_at else "long ago")
            for device in user.totpdevice_set.all()  # type: ignore[attr-defined]
        ]
        return format_html_join(" · ", "{}, since {}", lines) or "None"

    @admin.display
    def recovery_codes(self, user: User) -> str:
        return ", ".join(f"{len(codes.hashes)} left" for codes in user.recoverycodes_set.all()) or "None"

    @admin.display(description="sessions")
    def signed_in(self, user: User) -> str:
        found = list(user.usersession_set.all())  # type: ignore[attr-defined]
        return f"{len(found)}, last used {found[0].last_seen_at:%-d %B %Y, %H:%M} UTC" if found else "None"

    @admin.display(description="groups")
    def group_names(self, user: User) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all())) or "–"

    @admin.display(description="audit trail")
    def trail(self, user: User) -> SafeString:
        url = reverse("admin:accounts_auditentry_changelist")
        return format_html(
            '<a class="text-link" href="{}?q={}">What they did, and what was done</a>', url, user.uid
        )

    # ── What may be done ─────────────────────────────────────────────────────────────────────────────────────

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj and not staff.reaches(colleague(request), obj):
            return False
        return super().has_change_permission(request, obj)

    def _reaches(self, request: HttpRequest, permission: str, object_id: str | None, **state: Any) -> bool:
        """Whether somebody may do this to people, and to this one as they are."""
        if not colleague(request).has_perm(permission):
            return False
        if object_id is None:
            return True
        with suppress(ValueError):
            person = User.objects.filter(pk=object_id, **state).first()
            return person is not None and staff.reaches(colleague(request), person)
        return False

    def has_resend_verification_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        waiting = {"pk__in": EmailAddress.objects.filter(verified=False).values("user"), "is_active": True}
        return self._reaches(request, "accounts.resend_verification_user", object_id, **waiting)

    def has_password_letter_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._reaches(request, "accounts.resend_verification_user", object_id, is_active=True)

    def has_sign_out_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._reaches(request, "accounts.sign_out_user", object_id)

    def has_reset_two_factor_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        with_one = {"pk__in": TOTPDevice.objects.values("user")}
        return self._reaches(request, "accounts.reset_two_factor_user", object_id, **with_one)

    def has_switch_off_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._reaches(request, "accounts.change_user", object_id, is_active=True)

    def has_switch_on_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._reaches(request, "accounts.change_user", object_id, is_active=False)

    def has_delete_account_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._reaches(request, "accounts.delete_user", object_id, is_staff=False, deleted_at=None)

    def has_appoint_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._reaches(request, staff.MANAGE, object_id, is_active=True)

    def has_write_note_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("accounts.add_note")

    @action(description="Write a note", permissions=["write_note"], icon="sticky_note_2")  # type: ignore[untyped-decorator]
    def write_note(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return write_on(_person(object_id))

    @asked_once(
        "Send verification letter",
        permission="resend_verification",
        question="Send the letter that verifies their address again?",
        follows="It holds a new link. Links of earlier letters go on working.",
    )
    def resend_verification(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        person = _person(object_id)
        if address := sign_in_letters.unverified(person):
            try:
                sign_in_letters.send_verification(request, address)
            except sign_in_letters.TooSoon:
                messages.error(
                    request, "A letter went out less than a minute ago. Wait before you send another."
                )
            else:
                messages.success(request, f"A letter is on its way to {address.email}.")
        return back_to(person)

    @asked_once(
        "Send password letter",
        permission="password_letter",
        question="Send a letter with which they choose a new password?",
        follows="It goes to the address they sign in with. Their password works until they have chosen another.",
    )
    def send_password_letter(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        person = _person(object_id)
        try:
            sign_in_letters.send_password_letter(request, person)
        except sign_in_letters.TooSoon:
            messages.error(request, "Too many such letters went out in the last hour.")
        else:
            messages.success(request, f"A letter is on its way to {person.email}.")
        return back_to(person)

    @asked_once(
        "Sign out everywhere",
        permission="sign_out",
        question="End all sessions of this person?",
        follows="Wherever they are signed in, they have to sign in again. Their API keys go on working.",
        form_class=ReasonDialog,
    )
    def sign_out(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        person = _person(object_id)
        ended = sessions.sign_out(user=person, reason=form.cleaned_data["reason"], actor=actor_of(request))
        messages.success(request, f"Sessions of {person} that ended: {ended}.")
        return back_to(person)

    @asked_once(
        "Reset second factor",
        permission="reset_two_factor",
        question="Take this person's second factor away?",
        follows="Their devices and recovery codes stop working and their sessions end: the password alone signs them "
        "in, until they set it up again. A letter tells them, and the owners of their organizations are told.",
        is_danger=True,
        form_class=IdentityDialog,
    )
    def reset_two_factor(self, request: HttpRequest, form: IdentityDialog, object_id: str) -> HttpResponse:
        person, said = _person(object_id), form.cleaned_data
        try:
            two_factor.reset(
                user=person,
                check=two_factor.IdentityCheck(said["check"]),
                seen=said["seen"],
                actor=actor_of(request),
            )
        except two_factor.NotSetUp:
            messages.warning(request, f"{person} has no second factor.")
        else:
            messages.success(
                request, f"The second factor of {person} is reset. They and the owners are told."
            )
        return back_to(person)

    @asked_once(
        "Switch off",
        permission="switch_off",
        question="Switch this account off?",
        follows="Their sessions end, they cannot sign in, and their personal keys stop at once. Keys that they made "
        "for organizations go on. It can be switched on again.",
        is_danger=True,
        form_class=ReasonDialog,
    )
    def switch_off(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        return self._switch(request, form, object_id, is_active=False)

    @asked_once(
        "Delete account",
        permission="delete_account",
        question="Delete this account for good?",
        follows="Name, address, devices, sessions, notices and notes are erased, their keys stop and their memberships "
        "end. What organizations hold stays theirs. Nobody can bring it back; a letter tells the person.",
        is_danger=True,
        form_class=DeleteDialog,
    )
    def delete_account(self, request: HttpRequest, form: DeleteDialog, object_id: str) -> HttpResponse:
        person = _person(object_id)
        try:
            personal_data.delete_account(
                user=person, reason=form.cleaned_data["reason"], actor=actor_of(request)
            )
        except personal_data.SoleOwner as error:
            messages.error(
                request, f"They own {error}. Give it a new owner, or delete it, before the account can go."
            )
        except personal_data.OfTheStaff:
            messages.error(request, "They are on the staff: take them off it first.")
        else:
            messages.success(request, "The account is deleted, and what we held about the person erased.")
        return back_to(person)

    @asked_once(
        "Switch on",
        permission="switch_on",
        question="Switch this account on again?",
        follows="They can sign in again, and their personal keys work as before.",
        form_class=ReasonDialog,
    )
    def switch_on(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        return self._switch(request, form, object_id, is_active=True)

    def _switch(
        self, request: HttpRequest, form: ReasonDialog, object_id: str, *, is_active: bool
    ) -> HttpResponse:
        person = _person(object_id)
        staff.switch(
            user=person, is_active=is_active, reason=form.cleaned_data["reason"], actor=actor_of(request)
        )
        messages.success(request, f"{person} is switched {'on' if is_active else 'off'}.")
        return back_to(person)

    @asked_once(
        "Staff and groups",
        permission="appoint",
        question="What is this person on the staff?",
        follows="It counts from their next page on. Nobody gives what they do not have, or changes their own.",
        form_class=AppointDialog,
    )
    def appoint(self, request: HttpRequest, form: AppointDialog, object_id: str) -> HttpResponse:
        person, said = _person(object_id), form.cleaned_data
        changed = staff.appoint(
            user=person,
            is_staff=said["is_staff"],
            is_superuser=said.get("is_superuser", person.is_superuser),
            groups=list(said["groups"]),
            reason=said["reason"],
            actor=actor_of(request),
        )
        messages.success(request, "It counts from now on." if changed else "Nothing was changed.")
        return back_to(person)


def _person(object_id: str) -> User:
    return row_or_404(User.objects.all(), object_id)
