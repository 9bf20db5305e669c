"""How credits are calculated: the price book for customers to read."""

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, member_page
from accounts.permissions import Permission
from usage import price_list as prices
from usage.models import CreditRate, Entitlement


@member_page(Permission.USAGE_VIEW, for_support=True)
@require_safe
def price_list(request: MemberRequest) -> HttpResponse:
    """What each feature of each product costs now, and what it will cost."""
    rates = CreditRate.objects.order_by("effective_from", "pk")
    entitlement = Entitlement.objects.filter(organization=request.organization).first()
    return render(
        request,
        "usage/credits.html",
        {
            "products": prices.lines(rates, at=timezone.now()),
            "credit_price": entitlement.credit_price if entitlement else None,
        },
    )
