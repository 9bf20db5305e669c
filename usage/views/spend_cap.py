"""The pages of the spend cap: what a month may cost, and how far this one has come."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from usage import alert_words, spending
from usage.alert_forms import SpendCapForm


@member_page(Permission.ALERTS_VIEW, for_support=True)
@require_http_methods(["GET", "POST"])
def spend_cap(request: MemberRequest) -> HttpResponse:
    """The cap and what was spent; POST sets it."""
    organization = request.organization
    may_manage = request.may(Permission.SPEND_CAP_MANAGE)
    if request.method == "POST" and not may_manage:
        raise PermissionDenied
    cap = spending.cap_of(organization)
    form = SpendCapForm(
        request.POST if request.method == "POST" else None,
        initial={"amount": cap.amount and alert_words.digits(cap.amount)},
    )
    if request.method == "POST" and form.is_valid():
        try:
            spending.set_cap(
                organization=organization, amount=form.cleaned_data["amount"], actor=actor_of(request)
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            after = spending.cap_of(organization)
            if after.is_reached:
                messages.warning(
                    request, "Saved. This much is spent already: requests are refused from now on."
                )
            else:
                messages.success(request, "Saved. It holds from now on.")
            return redirect("usage:spend_cap", organization.uid)
    return render(
        request,
        "usage/spend_cap.html",
        {"cap": cap, "form": form, "may_manage": may_manage},
        status=400 if form.errors else 200,
    )


@member_page(Permission.SPEND_CAP_MANAGE)
@require_http_methods(["GET", "POST"])
def remove(request: MemberRequest) -> HttpResponse:
    """Say what follows, and on POST remove the cap."""
    cap = spending.cap_of(request.organization)
    if request.method == "GET" and cap.amount is not None:
        return render(request, "usage/remove_spend_cap.html", {"cap": cap})
    if request.method == "POST" and spending.remove_cap(
        organization=request.organization, actor=actor_of(request)
    ):
        messages.success(request, "The spend cap is removed. Nothing limits what may be spent.")
    else:
        messages.info(request, "There was no spend cap.")
    return redirect("usage:spend_cap", request.organization.uid)
