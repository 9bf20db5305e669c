"""API keys in the back office: found, stopped, made for the data plane, and taken in from elsewhere."""

from io import StringIO
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods, require_POST
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from accounts import form_once, key_import, keys, leaked_keys
from accounts.access import actor_of
from accounts.admin_base import (
    ReadOnlyAdmin,
    asked_once,
    back_to,
    colleague,
    is_there,
    plain_number,
    row_or_404,
)
from accounts.admin_forms import READ, ToldReasonDialog, reason_field
from accounts.admin_lists import OF_ORGANIZATION, OF_USER, since
from accounts.key_forms import ForgetfulTextarea, LeakForm, validate_file_size
from accounts.leaked_keys import Leak
from accounts.models import ApiKey
from accounts.names import validate_name
from accounts.permissions import ServicePermission

STATE_COLORS = {"active": "success", "disabled": "warning", "expired": "warning", "revoked": "danger"}
# How long what was found may wait to be confirmed, in seconds.
CONFIRM_WITHIN = 3600
FAULTS_SHOWN = 50


class ServiceKeyForm(forms.Form):
    name = forms.CharField(
        max_length=keys.LONGEST_NAME,
        validators=[validate_name],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="What will use it, such as “parser fleet”.",
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in ServicePermission],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What it may do. Choose no more than it needs.",
    )


class RotationDialog(ToldReasonDialog):
    within = forms.ChoiceField(
        label="Time to rotate it",
        choices=[(label, label) for label in keys.ROTATION_TIMES],
        initial="7 days",
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ("within", "reason")


class AllowDialog(BaseDialogForm):  # type: ignore[misc]
    """From where a key may be used as well; `?ip=` fills it in."""

    address = forms.GenericIPAddressField(
        label="IP address", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )
    reason = reason_field("Who asked, and how you made sure that it was them. " + READ)

    def __init__(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.initial = {"address": request.GET.get("ip", ""), "_form_submitted": True}


class _ForgetfulTextarea(ForgetfulTextarea, UnfoldAdminTextareaWidget):  # type: ignore[misc]
    """The same in the admin's look."""


class StaffLeakForm(LeakForm):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fields["text"].widget = _ForgetfulTextarea(attrs={"spellcheck": "false", "autocomplete": "off"})
        self.fields["file"].widget = UnfoldAdminFileFieldWidget()
        self.fields["place"].widget = UnfoldAdminTextInputWidget(attrs={"maxlength": 200})


class ImportForm(forms.Form):
    file = forms.FileField(
        label="CSV file",
        validators=[validate_file_size],
        widget=UnfoldAdminFileFieldWidget,
        help_text=f"In UTF-8, up to 5 MB, with the columns {', '.join(key_import.REQUIRED)}, and any of "
        f"{', '.join(key_import.OPTIONAL)}.",
    )


class KeyState(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in STATE_COLORS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        return queryset.in_state(self.value()) if self.value() in STATE_COLORS else queryset  # type: ignore[attr-defined]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin[ApiKey]):
    """Customers make their keys on their own pages; those of the data plane are made here. Each is shown once."""

    list_display = (
        "name",
        "masked",
        "kind",
        "colored_state",
        "organization",
        "user",
        "last_used_at",
        "created_at",
    )
    list_filter = (KeyState, "kind", "environment", since("created_at", "creation"))
    list_select_related = ("organization", "user")
    search_fields = ("~name", "=uid", "^prefix", "=last_four", *OF_ORGANIZATION, *OF_USER)
    search_help_text = "Name, id (key_…), first or last characters, owner, or a whole key (found by its hash)"
    fields = (
        "name",
        "masked",
        "colored_state",
        "kind",
        "organization",
        "user",
        "environment",
        "scope_list",
        "uid",
        "created_by",
        "created_at",
        "last_used_at",
        "expires_at",
        "networks",
        "requests_per_minute",
        "budget",
        "rotated_at",
        "old_secret",
        "rotate_by",
        "disabled_at",
        "revoked_at",
        "pepper_id",
    )
    actions_list = ("leaked", "import_keys")
    actions_detail = ("why_refused", "disable", "enable", "allow", "ask_to_rotate", "revoke")

    @display(description="state", label=STATE_COLORS)  # type: ignore[untyped-decorator]
    def colored_state(self, key: ApiKey) -> str:
        return key.state

    @admin.display(description="scopes")
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="allowed from")
    def networks(self, key: ApiKey) -> str:
        return ", ".join(key.allowed_ips) or "anywhere"

    @admin.display(description="credits a month")
    def budget(self, key: ApiKey) -> str:
        return plain_number(key.monthly_credit_budget)

    @admin.display(description="old secret")
    def old_secret(self, key: ApiKey) -> str:
        if not key.is_in_grace:
            return "–"
        return f"…{key.previous_last_four} works until {key.previous_expires_at:%Y-%m-%d %H:%M:%S} UTC"

    def get_urls(self) -> list[URLPattern]:
        revoke_leaked = path(
            "leaked/revoke/",
            self.admin_site.admin_view(self.revoke_leaked),
            name="accounts_apikey_revoke_leaked",
        )
        return [revoke_leaked, *super().get_urls()]

    # ── Keys of the data plane ───────────────────────────────────────────────────────────────────────────────

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("accounts.add_apikey")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Make a service key and show it, in this answer and never again. Sent twice, the form makes one key."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ServiceKeyForm(request.POST if request.method == "POST" else None)
        uid, signed_uid = form_once.uid_of(request, "key", place="the data plane")
        if request.method == "POST" and form.is_valid():
            try:
                key, secret = keys.create_service_key(**form.cleaned_data, actor=actor_of(request), uid=uid)
            except keys.AlreadyCreated:
                messages.warning(
                    request,
                    "This form has made its key already, and it is not shown a second time. If nobody copied it, "
                    "revoke it and make another.",
                )
                return redirect("admin:accounts_apikey_changelist")
            return self._page(
                request, "shown_once", title=f"The service key “{key.name}”", key=key, secret=secret
            )
        return self._page(
            request,
            "form",
            title="Add a service key",
            lead="For the operator's own API servers. Customers make theirs on their own pages. The key is shown once.",
            form=form,
            hidden={"form": signed_uid},
            submit_label="Create key",
        )

    # ── One key ──────────────────────────────────────────────────────────────────────────────────────────────

    def _stoppable(self, request: HttpRequest) -> QuerySet[ApiKey]:
        """Those that somebody may switch: without those of the data plane nobody's calls are let through."""
        keys_left = ApiKey.objects.filter(revoked_at=None)
        if colleague(request).has_perm("accounts.add_apikey"):
            return keys_left
        return keys_left.exclude(kind=ApiKey.Kind.SERVICE)

    def has_revoke_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        keys_left = ApiKey.objects.filter(revoked_at=None)
        return colleague(request).has_perm("accounts.revoke_apikey") and is_there(keys_left, object_id)

    def has_disable_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        enabled = self._stoppable(request).filter(disabled_at=None)
        return colleague(request).has_perm("accounts.disable_apikey") and is_there(enabled, object_id)

    def has_enable_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        disabled = self._stoppable(request).filter(disabled_at__isnull=False)
        return colleague(request).has_perm("accounts.disable_apikey") and is_there(disabled, object_id)

    def has_allow_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        tied = ApiKey.objects.filter(revoked_at=None, organization__isnull=False).exclude(allowed_ips=[])
        return colleague(request).has_perm("accounts.change_apikey") and is_there(tied, object_id)

    def has_rotate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        of_customers = ApiKey.objects.not_ended().filter(
            organization__deleted_at=None, organization__isnull=False
        )
        return colleague(request).has_perm("accounts.rotate_apikey") and is_there(of_customers, object_id)

    @action(description="Why refused?", permissions=["view"], icon="contact_support")  # type: ignore[untyped-decorator]
    def why_refused(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Whether a call with it is let through now, and if not why, which another app shows."""
        return redirect(f"{reverse('admin:why_refused')}?key={_key(object_id).uid}")

    @asked_once(
        "Revoke",
        permission="revoke",
        question="Revoke this key?",
        follows="Calls made with it fail from now on. It cannot be brought back. Its people are told.",
        is_danger=True,
        form_class=ToldReasonDialog,
    )
    def revoke(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        key = _key(object_id)
        keys.revoke(key=key, actor=actor_of(request), reason=form.cleaned_data["reason"])
        messages.success(request, f"{key} is revoked.")
        return back_to(key)

    @asked_once(
        "Disable",
        permission="disable",
        question="Disable this key?",
        follows="Calls made with it fail until it is enabled again. Its people are told.",
        form_class=ToldReasonDialog,
    )
    def disable(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        key = _key(object_id)
        keys.disable(key=key, actor=actor_of(request), reason=form.cleaned_data["reason"])
        messages.success(request, f"{key} is {key.state}.")
        return back_to(key)

    @asked_once(
        "Enable",
        permission="enable",
        question="Enable this key?",
        follows="Calls made with it succeed again. Its people are told.",
        form_class=ToldReasonDialog,
    )
    def enable(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        key = _key(object_id)
        keys.enable(key=key, actor=actor_of(request), reason=form.cleaned_data["reason"])
        messages.success(request, f"{key} is {key.state}.")
        return back_to(key)

    @asked_once(
        "Allow an address",
        permission="allow",
        question="Let this key be used from one more address?",
        follows="Calls from there are answered at once. Its people are told, and can take the address off again.",
        form_class=AllowDialog,
    )
    def allow(self, request: HttpRequest, form: AllowDialog, object_id: str) -> HttpResponse:
        key, said = _key(object_id), form.cleaned_data
        try:
            allowed = keys.allow(
                key=key, address=said["address"], reason=said["reason"], actor=actor_of(request)
            )
        except keys.Ended:
            messages.error(request, f"{key} is {key.state}.")
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            if allowed:
                messages.success(request, f"{key} may be used from {said['address']}.")
            else:
                messages.warning(request, f"{key} could be used from there before. Nothing was changed.")
        return back_to(key)

    @asked_once(
        "Ask to rotate",
        permission="rotate",
        question="Have the customer rotate this key?",
        follows="Nobody here is shown a secret, so only the customer can. Its people are told, with a link. Without a "
        "new secret the key is disabled at the end of the time.",
        form_class=RotationDialog,
    )
    def ask_to_rotate(self, request: HttpRequest, form: RotationDialog, object_id: str) -> HttpResponse:
        key = _key(object_id)
        said = form.cleaned_data
        try:
            keys.ask_to_rotate(
                key=key,
                within=keys.ROTATION_TIMES[said["within"]],
                reason=said["reason"],
                actor=actor_of(request),
            )
        except keys.Ended:
            messages.error(request, f"{key} is {key.state}: there is nothing to rotate.")
        else:
            messages.success(request, f"The people of {key} are asked to rotate it.")
        return back_to(key)

    # ── Leaked keys ──────────────────────────────────────────────────────────────────────────────────────────

    @action(description="Leaked keys", permissions=["revoke"], icon="key_off")  # type: ignore[untyped-decorator]
    @method_decorator(require_http_methods(["GET", "POST"]))
    def leaked(self, request: HttpRequest) -> HttpResponse:
        """Find keys of all organizations in a text, and show them to be confirmed. The text is in no answer."""
        form = StaffLeakForm(request.POST, request.FILES) if request.method == "POST" else StaffLeakForm()
        if request.method == "POST" and form.is_valid():
            search = leaked_keys.search(form.all_text())
            place = form.cleaned_data["place"]
            found = [(leak.key.uid, leak.last_four) for leak in search.leaks]
            return self._page(
                request,
                "leaked",
                title="Leaked keys: what was found",
                search=search,
                place=place,
                hidden={"found": signing.dumps([found, place], salt=_leaks_salt(request), compress=True)},
            )
        return self._page(
            request,
            "form",
            title="Leaked keys",
            lead="Paste a key, or a whole file or log. Nothing is revoked before you have seen what was found.",
            form=form,
            submit_label="Find keys",
        )

    @method_decorator(require_POST)
    def revoke_leaked(self, request: HttpRequest) -> HttpResponse:
        """Revoke what was found and confirmed."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        try:
            found, place = signing.loads(
                request.POST.get("found", ""), salt=_leaks_salt(request), max_age=CONFIRM_WITHIN
            )
        except signing.BadSignature as error:
            raise BadRequest("This was not found here, or long ago: search again.") from error
        by_uid = ApiKey.objects.select_related("organization", "user", "created_by").in_bulk(
            [uid for uid, _ in found], field_name="uid"
        )
        leaks = [Leak(by_uid[uid], last_four) for uid, last_four in found if uid in by_uid]
        ended = [(leak, leaked_keys.end(leak, place=place, actor=actor_of(request))) for leak in leaks]
        return self._page(request, "leaked", title="Leaked keys: what was done", ended=ended, place=place)

    # ── Keys made elsewhere ──────────────────────────────────────────────────────────────────────────────────

    @action(description="Import keys", permissions=["add"], icon="upload")  # type: ignore[untyped-decorator]
    @method_decorator(require_http_methods(["GET", "POST"]))
    def import_keys(self, request: HttpRequest) -> HttpResponse:
        form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
        if request.method == "POST" and form.is_valid():
            try:
                text = form.cleaned_data["file"].read().decode("utf-8-sig")
                imported = key_import.import_keys(StringIO(text), actor=actor_of(request))
            except UnicodeDecodeError:
                form.add_error("file", "Nothing was imported: the file is not UTF-8.")
            except key_import.Refused as refused:
                rest = len(refused.faults) - FAULTS_SHOWN
                more = [f"… and {rest} more."] if rest > 0 else []
                form.add_error("file", ["Nothing was imported.", *refused.faults[:FAULTS_SHOWN], *more])
            else:
                messages.success(request, f"New keys: {imported.new}. Known before: {imported.known}.")
                return redirect("admin:accounts_apikey_changelist")
        return self._page(
            request,
            "form",
            title="Import keys",
            lead="Keys that customers had elsewhere work on here, by their SHA-256. All of a file comes in, or none.",
            form=form,
            submit_label="Import",
        )

    def _page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        form = context.get("form")
        shared = self.admin_site.each_context(request) | {"opts": self.opts}
        return render(
            request,
            f"admin/accounts/apikey/{template}.html",
            shared | context,
            status=400 if form and form.errors else 200,
        )


def _key(object_id: str) -> ApiKey:
    return row_or_404(ApiKey.objects.select_related("organization"), object_id)


def _leaks_salt(request: HttpRequest) -> str:
    return f"leaked keys found by {colleague(request).uid}"
