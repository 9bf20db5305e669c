"""What the admins of webhooks have in common: how rows of long lists are found, and a page that asks."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts.admin_base import BigTableAdmin, M, ModelAdmin
from accounts.models import Organization
from webhooks.models import Status

Show = TypeVar("Show", bound=Callable[..., Any])

STATUS_COLORS = {
    Status.SUCCESS.label: "success",
    Status.FAIL.label: "danger",
    Status.SENDING.label: "warning",
    "Handed over": "success",
    "Refused": "danger",
    "Waiting": "warning",
    "Active": "success",
    "Disabled": "danger",
    "Failing": "warning",
    "Unwanted": "info",
    "Done": "success",
    "Counting": "warning",
    "Failed": "danger",
}


def once(show: Show) -> Show:
    """Work out what a page shows of a row once: unfold's templates ask for each field several times."""

    @wraps(show)
    def shown(shown_by: Any, row: Any) -> Any:
        found = row.__dict__.setdefault("_shown", {})
        if show.__name__ not in found:
            found[show.__name__] = show(shown_by, row)
        return found[show.__name__]

    return cast("Show", shown)


class FoundById(BigTableAdmin[M]):
    """A long list in which rows are found by their own id or by their organization's, each with its index."""

    list_select_related: ClassVar[Any] = ("organization",)
    search_fields = ("=uid",)
    search_help_text = "An id, or an organization's (org_…)"
    order_of_organization: ClassVar[tuple[str, ...]] = ("-pk",)  # as far as there is an index for it

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        if not search_term:
            return queryset, False
        if search_term.startswith("org_"):
            found = Organization.objects.filter(uid=search_term).values_list("pk", flat=True)
            of_organization = queryset.filter(organization_id__in=list(found))
            return of_organization.order_by(*self.order_of_organization), False
        return queryset.filter(uid=search_term.strip()), False


def ask(
    shown: ModelAdmin[Any],
    request: HttpRequest,
    *,
    title: str,
    lead: str,
    form: forms.Form | None,
    submit_label: str,
    facts: Sequence[tuple[str, str]] = (),
    hidden: Sequence[tuple[str, str]] = (),
    method: str = "post",
    back_url: str = "",
) -> HttpResponse:
    """A page that says what follows and asks what has to be said for it; without a form it only says."""
    return render(
        request,
        "admin/webhooks/ask.html",
        shown.admin_site.each_context(request)
        | {
            "opts": shown.opts,
            "title": title,
            "lead": lead,
            "form": form,
            "facts": facts,
            "hidden": hidden,
            "method": method,
            "submit_label": submit_label,
            "back_url": back_url or reverse(f"admin:webhooks_{shown.opts.model_name}_changelist"),
        },
        status=400 if form and form.errors else 200,
    )
