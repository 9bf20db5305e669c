"""What the admins of webhooks have in common: the colours of states, and a page that asks."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts.admin_base import ModelAdmin
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
