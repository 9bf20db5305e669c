"""The pages on which a person sets up their second factor, and ends it."""

import io

import django_otp
import qrcode
from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django_otp.plugins.otp_totp.models import TOTPDevice
from qrcode.image.svg import SvgPathImage

from accounts import two_factor
from accounts.access import SignedInRequest, actor_of, signed_in
from accounts.models import Membership, Organization, RecoveryCodes, User
from accounts.profile_forms import CodeForm

# The session's key for the secret that is being set up: it is nobody's device yet, and goes with the session.
OFFERED = "two_factor_offered"


@signed_in
@require_safe
def overview(request: SignedInRequest) -> HttpResponse:
    """Whether it is on, with what, and who requires it."""
    return render(
        request,
        "accounts/two_factor.html",
        {
            "devices": list(TOTPDevice.objects.devices_for_user(request.user, confirmed=True).order_by("pk")),
            "codes": RecoveryCodes.objects.filter(user=request.user).first(),
            "requiring": _requiring(request.user),
        },
    )


@signed_in
@never_cache
@require_http_methods(["GET", "POST"])
@reauthentication_required  # type: ignore[untyped-decorator]
def set_up(request: SignedInRequest) -> HttpResponse:
    """Show a secret as a QR code; a code that was made of it turns two-factor authentication on."""
    if two_factor.has_device(request.user):
        messages.info(request, "Two-factor authentication is on already.")
        return redirect("accounts:two_factor")
    key, offer = two_factor.offer(request.user, request.session.get(OFFERED, ""))
    request.session[OFFERED] = key
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            device, codes = two_factor.set_up(
                user=request.user,
                key=key,
                code=form.cleaned_data["code"],
                actor=actor_of(request),
                keep_session=request.session.session_key,
            )
        except two_factor.WrongCode:
            form.add_error(
                "code",
                "This code does not fit. Is the clock of your device right? Type the one it shows now.",
            )
        except two_factor.AlreadySetUp:
            return redirect("accounts:two_factor")
        else:
            del request.session[OFFERED]
            django_otp.login(request, device)
            return _show_codes(request, codes, is_new=True)
    return render(
        request,
        "accounts/set_up_two_factor.html",
        {
            "form": form,
            "offer": offer,
            "drawing": _drawing(offer.url),
            "requiring": _requiring(request.user),
        },
        status=400 if form.errors else 200,
    )


@signed_in
@never_cache
@require_http_methods(["GET", "POST"])
def recovery_codes(request: SignedInRequest) -> HttpResponse:
    """Make new recovery codes and show them, in this answer and never again."""
    if not two_factor.has_device(request.user):
        return redirect("accounts:two_factor")
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            codes = two_factor.replace_recovery_codes(
                user=request.user, code=form.cleaned_data["code"], actor=actor_of(request)
            )
        except two_factor.CodeRefused as error:
            form.add_error("code", error)
        else:
            return _show_codes(request, codes, is_new=False)
    return render(
        request,
        "accounts/replace_recovery_codes.html",
        {"form": form, "left": two_factor.codes_left(request.user)},
        status=400 if form.errors else 200,
    )


@signed_in
@never_cache
@require_http_methods(["GET", "POST"])
def disable(request: SignedInRequest) -> HttpResponse:
    """Say what follows, ask for a code, and turn it off."""
    if not two_factor.has_device(request.user):
        return redirect("accounts:two_factor")
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            two_factor.disable(
                user=request.user,
                code=form.cleaned_data["code"],
                actor=actor_of(request),
                keep_session=request.session.session_key,
            )
        except two_factor.CodeRefused as error:
            form.add_error("code", error)
        else:
            messages.success(
                request, "Two-factor authentication is off. Your other sessions have been ended."
            )
            return redirect("accounts:two_factor")
    return render(
        request,
        "accounts/disable_two_factor.html",
        {"form": form, "requiring": _requiring(request.user)},
        status=400 if form.errors else 200,
    )


def _requiring(user: User) -> list[Organization]:
    memberships = Membership.objects.of(user).in_order()
    required = memberships.filter(organization__two_factor_required_from__isnull=False)
    return [membership.organization for membership in required]


def _show_codes(request: SignedInRequest, codes: list[str], *, is_new: bool) -> HttpResponse:
    lines = "\n".join(codes)
    file = f"Recovery codes of {request.user.email} for {settings.BRAND}. Each works once.\n\n{lines}\n"
    return render(request, "accounts/recovery_codes.html", {"codes": lines, "file": file, "is_new": is_new})


def _drawing(url: str) -> SafeString:
    """The QR code as an SVG that stands in the page itself."""
    svg = io.BytesIO()
    qrcode.make(url, image_factory=SvgPathImage, border=2).save(svg)
    return mark_safe(svg.getvalue().decode().partition("?>")[2])  # made here, of black squares
