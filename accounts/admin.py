"""Organizations, the audit trail and sign-in devices in the back office. People, keys and notes are beside it."""

from typing import Any

from allauth.account.admin import EmailAddressAdmin as AllauthEmailAddressAdmin
from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from accounts import audit, impersonation, look_admin, organizations, ownership_recovery, staff, two_factor
from accounts import invitation_admin as invitation_admin  # it registers invitations'
from accounts import key_admin as key_admin  # it registers the keys'
from accounts import note_admin as note_admin  # it registers notes'
from accounts import user_admin as user_admin  # it registers people's
from accounts.access import actor_of
from accounts.admin_base import (
    BigTableAdmin,
    ModelAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    asked_once,
    back_to,
    colleague,
    is_there,
    json_block,
    row_or_404,
)
from accounts.admin_forms import READ, Dialog, ToldReasonDialog, reason_field
from accounts.admin_lists import OF_ORGANIZATION, OF_USER, since
from accounts.models import ApiKey, AuditEntry, Membership, Organization, User
from accounts.note_admin import NotesOnOrganization, write_on


class MembersOfOrganization(ReadOnlyInline[Membership, Organization]):
    model = Membership
    fields = readonly_fields = ("user", "role", "created_at")
    verbose_name_plural = "Members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("organization", "user").order_by("user__email")


class KeysOfOrganization(ReadOnlyInline[ApiKey, Organization]):
    model = ApiKey
    fields = readonly_fields = ("name", "masked", "kind", "environment", "state", "created_by", "created_at")
    verbose_name_plural = "API keys"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).select_related("created_by").order_by("-created_at", "-id")


class OrganizationState(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("deleted", "Deleted, can be restored"), ("erased", "Erased")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Organization]) -> QuerySet[Organization]:
        match self.value():
            case "active":
                return queryset.filter(deleted_at=None)
            case "deleted":
                return queryset.filter(deleted_at__isnull=False, erased_at=None)
            case "erased":
                return queryset.filter(erased_at__isnull=False)
        return queryset


class Suspended(admin.SimpleListFilter):
    """Whom support, or what is owed, keeps from calling. The list of entitlements tells other reasons too."""

    title = parameter_name = "suspended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Organization]) -> QuerySet[Organization]:
        may_call = {"yes": False, "no": True}.get(self.value() or "")
        # By name, for entitlements are of an app that builds on this one.
        return queryset if may_call is None else queryset.filter(entitlement__may_call=may_call)


class OrganizationAdminForm(ModelForm[Organization]):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        return cleaned | organizations.clean(
            {name: cleaned[name] for name in self.changed_data if name in cleaned}
        )


class CloseDialog(Dialog):
    """Why an organization is deleted, and its name once more, so that no wrong one is."""

    name = forms.CharField(label="Its name", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}))
    reason = reason_field("How its owner asked, and how you made sure that it was them. " + READ)

    def __init__(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.organization = _organization(object_id)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not organizations.is_name_of(self.organization, name):
            raise forms.ValidationError("That is not its name.")
        return name


class MemberChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Membership) -> str:
        return f"{obj.user.display_name}, {obj.user.email}, {obj.get_role_display()}"


class RecoverDialog(Dialog):
    """Who becomes the owner of an organization, and how that was proven: of the owner whom it was opened with."""

    owner = forms.CharField(widget=forms.HiddenInput)
    member = MemberChoice(
        Membership.objects.none(), label="New owner", empty_label="Choose…", widget=UnfoldAdminSelectWidget
    )
    former = forms.ChoiceField(
        label="The owner so far",
        choices=[("admin", "Becomes an admin"), ("remove", "Is removed; keys that they made stop")],
        widget=UnfoldAdminSelectWidget,
    )
    proof = forms.CharField(
        label="How it was proven",
        min_length=10,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Such as a company register or a letter. It becomes a note on the organization.",
    )
    owner_is_out = forms.BooleanField(
        label="It proves that the owner asks for this, or has left the company",
        required=False,
        widget=UnfoldBooleanWidget,
    )
    reason = reason_field(READ)

    def __init__(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.organization = _organization(object_id)
        self.owned_by = ownership_recovery.owner(self.organization)
        self.fields["owner"].initial = self.owned_by.user.uid if self.owned_by else ""
        member = self.fields["member"]
        assert isinstance(member, forms.ModelChoiceField)
        candidates = ownership_recovery.candidates(self.organization)
        member.queryset = candidates.exclude(user=colleague(request))

    def clean_owner_is_out(self) -> bool:
        is_out: bool = self.cleaned_data["owner_is_out"]
        owner = self.owned_by
        if owner and not is_out and ownership_recovery.was_there_lately(owner, now=timezone.now()):
            raise forms.ValidationError(
                f"{owner.user} was here in the last {ownership_recovery.AROUND.days} days, and can hand it over."
            )
        return is_out

    def clean(self) -> None:
        if self.owned_by is None or self.cleaned_data.get("owner") != self.owned_by.user.uid:
            self.add_error("member", "Its owner has changed meanwhile. Look at the organization again.")


def _lists_of(organization: Organization, labels: dict[str, str]) -> SafeString:
    """Links to lists of other apps, narrowed to an organization."""
    return format_html_join(
        " · ",
        '<a class="text-link" href="{}?q={}">{}</a>',
        ((reverse(f"admin:{model}_changelist"), organization.uid, label) for model, label in labels.items()),
    )


@admin.register(Organization)
class OrganizationAdmin(ModelAdmin[Organization]):
    form = OrganizationAdminForm
    list_display = ("name", "uid", "colored_state", "billing_email", "member_count", "created_at")
    # By names, for these are of apps that build on this one.
    list_filter = (
        OrganizationState,
        "billing_account__plan",
        Suspended,
        since("created_at", "creation"),
    )
    search_fields = (
        "~name,billing_email",
        "=uid",
        "~memberships__user__name,memberships__user__email",
    )
    search_help_text = "Name, id (org_…), or a member's name or e-mail address"
    fields = (
        "name",
        "billing_email",
        "default_region",
        "colored_state",
        "deleted_at",
        "erase_after",
        "erased_at",
        "time_zone",
        "next_time_zone",
        "next_time_zone_at",
        "only_owner_manages_keys",
        "support_may_look",
        "two_factor_required_from",
        "retention_days",
        "uid",
        "usage",
        "webhooks",
        "billing",
        "created_at",
        "access_version",
        "access_changed_at",
    )
    readonly_fields = fields[3:]
    inlines = (NotesOnOrganization, MembersOfOrganization, KeysOfOrganization)
    actions_detail = ("look", "why_refused", "write_note", "recover", "restore", "close")

    def get_urls(self) -> list[URLPattern]:
        """Its page shows it as a whole (`config.backoffice.organization`); the form is a page beside it."""
        edit = path(
            "<path:object_id>/edit/",
            self.admin_site.admin_view(self.change_view),
            name="accounts_organization_edit",
        )
        return [edit, *super().get_urls()]

    def response_post_save_change(self, request: HttpRequest, obj: Organization) -> HttpResponseRedirect:
        return redirect("admin:accounts_organization_change", obj.pk)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        members = Membership.objects.filter(organization=OuterRef("pk")).values("organization")
        count = members.annotate(count=Count("pk")).values("count")
        return super().get_queryset(request).annotate(member_count=Coalesce(Subquery(count), 0))

    def has_change_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        if obj and obj.deleted_at:
            return False
        return super().has_change_permission(request, obj)

    @admin.display(description="members")
    def member_count(self, organization: Organization) -> int:
        return organization.member_count  # type: ignore[attr-defined, no-any-return]

    @display(description="state", label={"active": "success", "deleted": "danger", "erased": "danger"})  # type: ignore[untyped-decorator]
    def colored_state(self, organization: Organization) -> str:
        if organization.erased_at:
            return "erased"
        return "deleted" if organization.deleted_at else "active"

    @admin.display
    def usage(self, organization: Organization) -> SafeString:
        """The way to what it used, which another app shows."""
        return _lists_of(organization, {"usage_job": "Jobs", "usage_usagerecord": "Usage records"})

    @admin.display
    def billing(self, organization: Organization) -> SafeString:
        """The way to what it is on and has paid, which another app shows."""
        return _lists_of(
            organization,
            {
                "billing_billingaccount": "Account",
                "billing_creditentry": "Ledger",
                "billing_entitlementoverride": "Overrides",
                "billing_invoice": "Invoices",
            },
        )

    @admin.display
    def webhooks(self, organization: Organization) -> SafeString:
        """The way to what it was sent, which another app shows."""
        return _lists_of(
            organization, {"webhooks_outboxmessage": "Messages", "webhooks_endpoint": "Endpoints"}
        )

    def save_model(
        self, request: HttpRequest, obj: Organization, form: ModelForm[Organization], change: bool
    ) -> None:
        organizations.update(
            organization=Organization.objects.get(pk=obj.pk),
            changes={name: form.cleaned_data[name] for name in form.changed_data},
            actor=actor_of(request),
        )

    def has_look_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return impersonation.may_begin(colleague(request)) and is_there(
            Organization.objects.open(), object_id
        )

    @action(description="Look as a member", permissions=["look"])  # type: ignore[untyped-decorator]
    def look(self, request: HttpRequest, object_id: str) -> HttpResponse:
        organization = _organization(object_id)
        return look_admin.look(request, organization, self.admin_site)

    def has_keys_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("accounts.view_apikey")

    @action(description="Why refused?", permissions=["keys"], icon="contact_support")  # type: ignore[untyped-decorator]
    def why_refused(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Which of its keys are let through now, which another app shows."""
        organization = _organization(object_id)
        return redirect(f"{reverse('admin:why_refused')}?organization={organization.uid}")

    def has_restore_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        restorable = Organization.objects.filter(deleted_at__isnull=False, erase_after__gt=timezone.now())
        return colleague(request).has_perm("accounts.restore_organization") and is_there(
            restorable, object_id
        )

    @asked_once(
        "Restore",
        permission="restore",
        question="Restore this organization?",
        follows="Its members come back in and are told so, and its API keys work again. Invitations that "
        "were open and webhooks that were due when it was deleted do not come back.",
        form_class=ToldReasonDialog,
    )
    def restore(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        organization = _organization(object_id)
        try:
            restored = organizations.restore(
                organization=organization, actor=actor_of(request), reason=form.cleaned_data["reason"]
            )
        except organizations.NoOwner:
            messages.error(
                request,
                "Its owner's account is gone or switched off: nobody would own it. Give it a new owner first.",
            )
        else:
            if restored:
                messages.success(request, f"{organization} is back.")
            else:
                messages.warning(request, f"{organization} is not deleted, or was deleted too long ago.")
        return back_to(organization)

    def has_close_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("accounts.delete_organization") and is_there(
            Organization.objects.open(), object_id
        )

    @asked_once(
        "Delete",
        permission="close",
        question="Delete this organization?",
        follows=f"Its pages, keys and webhooks end at once and its members are told. For {organizations.GRACE.days} "
        "days it can be restored; then what it holds is erased for good. A subscription at Stripe ends.",
        is_danger=True,
        form_class=CloseDialog,
    )
    def close(self, request: HttpRequest, form: CloseDialog, object_id: str) -> HttpResponse:
        organization = form.organization
        if organizations.delete(
            organization=organization, reason=form.cleaned_data["reason"], actor=actor_of(request)
        ):
            messages.success(request, f"{organization} is deleted, and can be restored until it is erased.")
        else:
            messages.warning(request, f"{organization} was deleted before.")
        return back_to(organization)

    def has_write_note_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("accounts.add_note")

    @action(description="Write a note", permissions=["write_note"], icon="sticky_note_2")  # type: ignore[untyped-decorator]
    def write_note(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return write_on(_organization(object_id))

    def has_recover_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        left = Organization.objects.filter(erased_at=None)
        return colleague(request).has_perm("accounts.recover_organization") and is_there(left, object_id)

    @asked_once(
        "New owner",
        permission="recover",
        question="Give this organization a new owner?",
        follows="For when its owner is gone. The new one manages its billing and could delete it. All who manage its "
        "people are told, with your reason.",
        form_class=RecoverDialog,
    )
    def recover(self, request: HttpRequest, form: RecoverDialog, object_id: str) -> HttpResponse:
        organization, said = form.organization, form.cleaned_data
        assert form.owned_by
        try:
            ownership_recovery.recover(
                organization=organization,
                former_owner=form.owned_by.user,
                to=said["member"].user,
                proof=said["proof"],
                reason=said["reason"],
                owner_is_out=said["owner_is_out"],
                remove_former=said["former"] == "remove",
                actor=actor_of(request),
            )
        except (ownership_recovery.NotRecoverable, ownership_recovery.OwnerIsAround):
            messages.error(
                request, f"Who owns {organization}, or is a member, has changed meanwhile. Look again."
            )
        else:
            messages.success(request, f"{said['member'].user} owns {organization}.")
        return back_to(organization)


def _organization(object_id: str) -> Organization:
    return row_or_404(Organization.objects.all(), object_id)


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin[Membership]):
    list_display = ("user", "organization", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "organization")
    search_fields = (*OF_USER, *OF_ORGANIZATION)
    search_help_text = "E-mail address, or an organization's name or id (org_…)"
    fields = ("user", "organization", "role", "created_at")


class ActionFilter(admin.SimpleListFilter):
    """The actions there can be, without reading the table for those there are."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(action.value, action.value) for action in audit.Action]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class ByStaff(admin.SimpleListFilter):
    title = "by"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("staff", "Staff, for a customer")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(by_staff=True) if self.value() == "staff" else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(BigTableAdmin[AuditEntry]):
    list_leaves_out = ("before", "after")
    list_display = ("created_at", "action", "actor_name", "target", "organization_page", "ip")
    list_filter = (ActionFilter, ByStaff, since("created_at"))
    list_select_related = ("organization",)
    search_fields = ("=target_uid",)
    search_help_text = (
        "Exactly: an organization's id (org_…), an action, a person's e-mail address or id, "
        "or an id of what was changed"
    )
    fields = (
        "created_at",
        "action",
        "actor_name",
        "actor",
        "by_staff",
        "api_key_uid",
        "ip",
        "organization_name",
        "organization",
        "target_type",
        "target_name",
        "target_uid",
        "values_before",
        "values_after",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        """One kind of term a search, so that each has its index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("org_"):
            known = Organization.objects.filter(uid=term).values_list("pk", flat=True).first()
            found = queryset.filter(organization_id=known or -1)
            return found.newest_first(), False  # type: ignore[attr-defined]
        if term in audit.Action.values:
            return queryset.filter(action=term), False
        named = Q(actor_name=term) | Q(target_uid=term)
        person = User.objects.filter(Q(uid=term) | Q(email__iexact=term)).first()
        if person:
            named |= Q(actor_id=person.pk) | Q(target_uid=person.uid)
        return queryset.filter(named), False

    @admin.display(description="organization")
    def organization_page(self, entry: AuditEntry) -> SafeString | str:
        if entry.organization is None:
            return entry.organization_name
        url = reverse("admin:accounts_organization_change", args=[entry.organization.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, entry.organization_name)

    @admin.display
    def target(self, entry: AuditEntry) -> SafeString:
        return format_html('<span style="overflow-wrap: anywhere">{}</span>', entry.target_name)

    @admin.display(description="before")
    def values_before(self, entry: AuditEntry) -> str:
        return json_block(entry.before)

    @admin.display(description="after")
    def values_after(self, entry: AuditEntry) -> str:
        return json_block(entry.after)


@admin.register(EmailAddress)
class EmailAddressAdmin(ReadOnlyAdmin[EmailAddress], AllauthEmailAddressAdmin):  # type: ignore[misc]
    """What people sign in with; somebody whose mail never arrived can be helped by marking theirs as verified."""

    list_select_related = ("user",)
    search_help_text = "E-mail address, or a person's name or id (usr_…)"
    actions = ("mark_verified",)

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("^email", *OF_USER)

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("accounts.change_user")

    @admin.action(description="Mark as verified", permissions=["verify"])
    def mark_verified(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        unverified = list(queryset.filter(verified=False).select_related("user"))
        reached = [each.pk for each in unverified if staff.reaches(colleague(request), each.user)]
        if len(reached) < len(unverified):
            messages.error(
                request, "Your own address, and those of people out of your reach, stay as they are."
            )
        chosen = EmailAddress.objects.filter(pk__in=reached)
        self.make_verified(request, chosen)
        for address in chosen.filter(verified=True).select_related("user"):
            audit.record(
                audit.Action.USER_UPDATED,
                actor=actor_of(request),
                target=address.user,
                before={"email": address.email, "verified": False},
                after={"email": address.email, "verified": True},
            )


@admin.register(TOTPDevice)
class TOTPDeviceAdmin(ModelAdmin[TOTPDevice]):
    """Who has a device. Never its key: whoever sees that can sign in as its owner."""

    list_display = ("user", "name", "confirmed", "created_at", "last_used_at")
    list_filter = ("confirmed",)
    list_select_related = ("user",)
    search_fields = OF_USER
    search_help_text = "A person's name, e-mail address or id (usr_…)"
    fields = ("user", "name", "confirmed", "created_at", "last_used_at")

    def has_change_permission(self, request: HttpRequest, obj: TOTPDevice | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TOTPDevice | None = None) -> bool:
        """One of a colleague's: a customer's goes by the reset on their own page, after an identity check."""
        if not colleague(request).has_perm(staff.MANAGE):
            return False
        return obj is None or (obj.user.is_staff and staff.reaches(colleague(request), obj.user))

    def delete_model(self, request: HttpRequest, obj: TOTPDevice) -> None:
        two_factor.remove(device=obj, actor=actor_of(request))
