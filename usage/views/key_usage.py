"""What one API key was used for: a fragment, which the key's own page fetches."""

from datetime import timedelta
from decimal import Decimal

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, member_page
from accounts.models import ApiKey
from accounts.permissions import Permission
from usage import charts, reports
from usage.charts import Series
from usage.models import Product
from usage.reports import Dimension, Totals

DAYS = 30


@member_page(Permission.USAGE_VIEW, for_support=True)
@require_safe
def key_usage(request: MemberRequest, key_uid: str) -> HttpResponse:
    """The last 30 days by product, and the month so far beside the key's budget."""
    organization = request.organization
    visible = ApiKey.objects.visible_to(None if request.looking else request.user, organization)
    key = get_object_or_404(visible, organization=organization, uid=key_uid)
    today = reports.today(organization, now=timezone.now())
    start, first = today - timedelta(days=DAYS - 1), today.replace(day=1)
    days = [start + timedelta(days=number) for number in range(DAYS)]
    used, this_month = Totals(), Decimal(0)
    products: dict[str, list[int]] = {}
    for day, product, totals in reports.by_day(
        organization,
        start=min(start, first),
        end=today,
        dimensions=[Dimension.PRODUCT],
        only={Dimension.API_KEY: [str(key.pk)]},
    )[Dimension.PRODUCT]:
        if day >= first:
            this_month += totals.credits
        if day >= start:
            used.add(totals)
            products.setdefault(product, [0] * DAYS)[(day - start).days] += totals.requests
    # In the colours of the usage page.
    series = [
        Series(product.label, products[product], number)
        for number, product in enumerate(Product, start=1)
        if product in products
    ]
    context = {
        "key": key,
        "used": used,
        "this_month": this_month,
        "chart": charts.stacked_bars([charts.day(day) for day in days], series, unit="requests", kind="Day"),
        "days": DAYS,
    }
    return render(request, "usage/key_usage.html", context)
