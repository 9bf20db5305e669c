from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django_otp.admin import OTPAdminSite
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from config.backoffice.login import StaffLoginForm


class BackOffice(UnfoldAdminSite, OTPAdminSite):  # type: ignore[misc]
    """The admin of the support staff: unfold's look, and only for a session verified by a one-time password."""

    index_title = "Overview"
    login_form = StaffLoginForm
    login_template = "admin/login.html"

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[admin.ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Take in the models this project registers, and pass over the admins that libraries bring along.

        Those print what nobody should read: dj-stripe's its secret key, django-otp's the seeds of devices. A library's
        model appears here when one of our apps registers it with an admin of our own.
        """
        if admin_class and issubclass(admin_class, ModelAdmin):
            super().register(model_or_iterable, admin_class, **options)
