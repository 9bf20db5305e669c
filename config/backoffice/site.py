from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django_otp.admin import OTPAdminSite
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from accounts import impersonation
from config.backoffice import home, organization, refusals, search, system
from config.backoffice.login import StaffLoginForm


class BackOffice(UnfoldAdminSite, OTPAdminSite):  # type: ignore[misc]
    """The admin of the support staff: unfold's look, and only for a session verified by a one-time password."""

    index_title = "Overview"
    login_form = StaffLoginForm
    login_template = "admin/login.html"

    def extra_urls(self) -> list[URLPattern]:
        """The pages that are of no model, and those that stand for one of a model's, under its name."""
        return [
            path(
                "accounts/organization/<int:object_id>/change/",
                self.admin_view(organization.page),
                name="accounts_organization_change",
            ),
            path("system/", self.admin_view(system.system), name="system"),
            path("system/run/<str:task>/", self.admin_view(system.run), name="system_run"),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """On every page, besides: which organization's pages this session looks at as a member."""
        looked_at = impersonation.going_on(request.session)
        return super().each_context(request) | {"looked_at": looked_at}  # type: ignore[no-any-return]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The overview: what needs attention, and the numbers of today."""
        return super().index(request, home.context(request) | (extra_context or {}))  # type: ignore[no-any-return]

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """What is offered to be chosen from, in forms. A text that no column holds is not asked for."""
        if any("\0" in value for value in request.GET.values()):
            raise BadRequest("No text holds a NUL character.")
        return super().autocomplete_view(request)  # type: ignore[no-any-return]

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Pages that are about no one table, before those of tables. Our search stands in the place of unfold's."""
        ours = [
            path("search/", self.admin_view(search.page), name="search"),
            path("why-refused/", self.admin_view(refusals.page), name="why_refused"),
        ]
        return [*ours, *super().get_urls()]

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
