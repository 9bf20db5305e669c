"""The pages of usage alerts: listed with where they stand, made, changed, tested, deleted, and what became of them."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import get_text_list
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import cursors
from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from usage import alert_history, alert_notices, alerts
from usage.alert_forms import AlertForm, NewAlertForm
from usage.models import UsageAlert

PAGE = 25


@member_page(Permission.ALERTS_VIEW, for_support=True)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """All alerts, and where each stands in its current period."""
    found = list(
        UsageAlert.objects.filter(organization=request.organization)
        .select_related("api_key")
        .order_by("-created_at", "-id")
    )
    return render(
        request,
        "usage/alerts.html",
        {
            "states": alert_history.states(request.organization, found) if found else [],
            "may_manage": request.may(Permission.ALERTS_MANAGE),
        },
    )


@member_page(Permission.ALERTS_MANAGE)
@require_http_methods(["GET", "POST"])
def create(request: MemberRequest) -> HttpResponse:
    """Make an alert, or several at once."""
    form = NewAlertForm(request.POST if request.method == "POST" else None, organization=request.organization)
    if request.method == "POST" and form.is_valid():
        values = form.values()
        try:
            thresholds = alerts.shares(
                values.pop("threshold"), form.cleaned_data["percentages"], metric=values["metric"]
            )
            made = alerts.create(
                organization=request.organization, thresholds=thresholds, actor=actor_of(request), **values
            )
        except alerts.TooMany:
            form.add_error(None, f"An organization has at most {alerts.MOST} alerts: delete one first.")
        except alerts.Duplicate as error:
            form.add_error("threshold", _is_there(error.alert))
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, "The alert is on." if len(made) == 1 else f"{len(made)} alerts are on.")
            return redirect("usage:alerts", request.organization.uid)
    return render(request, "usage/create_alert.html", {"form": form}, status=400 if form.errors else 200)


@member_page(Permission.ALERTS_VIEW, for_support=True)
@require_safe
def detail(request: MemberRequest, alert_uid: str) -> HttpResponse:
    """An alert, where it stands, and its firings: who was told, and whether it arrived."""
    alert = _find(request, alert_uid)
    states = alert_history.states(request.organization, [alert])
    if not states:
        raise Http404
    page, older = cursors.page(
        alert_history.firings_of(alert), limit=PAGE, older_than=cursors.in_address(request.GET)
    )
    return render(
        request,
        "usage/alert.html",
        {
            "alert": alert,
            "state": states[0],
            "arrivals": alert_history.arrivals(request.organization, page),
            "older": f"?older_than={older}" if older else "",
            "is_first_page": "older_than" not in request.GET,
            "may_manage": request.may(Permission.ALERTS_MANAGE),
        },
    )


@member_page(Permission.ALERTS_MANAGE)
@require_http_methods(["GET", "POST"])
def edit(request: MemberRequest, alert_uid: str) -> HttpResponse:
    alert = _find(request, alert_uid)
    form = AlertForm(
        request.POST if request.method == "POST" else None, organization=request.organization, alert=alert
    )
    if request.method == "POST" and form.is_valid():
        try:
            changed = alerts.update(alert=alert, changes=form.values(), actor=actor_of(request))
        except ValidationError as error:
            form.refuse(error)
        except alerts.Duplicate as error:
            form.add_error("threshold", _is_there(error.alert))
        except UsageAlert.DoesNotExist:
            raise Http404 from None
        else:
            messages.success(request, "Saved. It holds from now on." if changed else "Nothing was changed.")
            return redirect("usage:alert", request.organization.uid, alert.uid)
    return render(
        request, "usage/edit_alert.html", {"form": form, "alert": alert}, status=400 if form.errors else 200
    )


@member_page(Permission.ALERTS_MANAGE)
@require_POST
def enable(request: MemberRequest, alert_uid: str) -> HttpResponse:
    return _switch(request, alert_uid, is_enabled=True)


@member_page(Permission.ALERTS_MANAGE)
@require_POST
def disable(request: MemberRequest, alert_uid: str) -> HttpResponse:
    return _switch(request, alert_uid, is_enabled=False)


def _switch(request: MemberRequest, alert_uid: str, *, is_enabled: bool) -> HttpResponse:
    alert = _find(request, alert_uid)
    try:
        changed = alerts.update(alert=alert, changes={"is_enabled": is_enabled}, actor=actor_of(request))
    except UsageAlert.DoesNotExist:
        raise Http404 from None
    state = "on" if is_enabled else "off"
    messages.success(request, f"The alert {'is' if changed else 'was'} {state}.")
    return redirect("usage:alert", request.organization.uid, alert.uid)


@member_page(Permission.ALERTS_MANAGE)
@require_POST
def test(request: MemberRequest, alert_uid: str) -> HttpResponse:
    """Send a test notice to everybody whom the alert would tell."""
    alert = _find(request, alert_uid)
    sent = alert_notices.test(alert)
    names = [person.display_name for person in sent.people]
    shown = names if len(names) <= 5 else [*names[:4], f"{len(names) - 4} more"]
    webhook = " Your webhook endpoints get it too." if sent.message else ""
    messages.success(
        request,
        f"A test notice is on its way to {get_text_list(shown, 'and')}. It counts as nothing.{webhook}",
    )
    return redirect("usage:alert", request.organization.uid, alert.uid)


@member_page(Permission.ALERTS_MANAGE)
@require_http_methods(["GET", "POST"])
def delete(request: MemberRequest, alert_uid: str) -> HttpResponse:
    """Say what goes with the alert, and on POST delete it."""
    alert = _find(request, alert_uid)
    if request.method == "GET":
        return render(
            request,
            "usage/delete_alert.html",
            {"alert": alert, "rule": alert_history.rule(alert), "firings": alert.firings.count()},
        )
    alerts.delete(alert=alert, actor=actor_of(request))
    messages.success(request, "The alert is deleted.")
    return redirect("usage:alerts", request.organization.uid)


def _is_there(alert: UsageAlert) -> str:
    state = "" if alert.is_enabled else ", turned off"
    return f"There is an alert at {alert_history.rule(alert)} already{state}."


def _find(request: MemberRequest, alert_uid: str) -> UsageAlert:
    found = UsageAlert.objects.filter(organization=request.organization)
    return get_object_or_404(found.select_related("api_key", "organization", "created_by"), uid=alert_uid)
