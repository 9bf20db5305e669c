"""The stage of signing in that asks for the second factor: allauth enters it behind every door."""

from allauth.account.stages import LoginStage
from django.http import HttpResponse
from django.shortcuts import redirect
from django_otp.models import Device

from accounts.devices import has_device


class TwoFactorStage(LoginStage):  # type: ignore[misc]
    """Holds up whoever has a device. Until they show a code of it they are nobody, and their session says so."""

    key = "two_factor"
    urlname = "accounts:two_factor_challenge"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        user = self.login.user
        if user is None or not has_device(user):
            return None, True
        # A sign-in that was begun with an old password ends when there is a new one.
        self.state["begun_as"] = user.get_session_auth_hash()
        return redirect(self.urlname), True

    @property
    def holds(self) -> bool:
        """Whether the person who began may still go on."""
        user = self.login.user
        return bool(user and user.is_active and self.state.get("begun_as") == user.get_session_auth_hash())

    def pass_with(self, device: Device) -> HttpResponse:
        """Let them in, with a session that knows by which device it was verified."""
        self.login.user.otp_device = device  # django-otp takes it from there when they are signed in
        response: HttpResponse = self.exit()
        return response
