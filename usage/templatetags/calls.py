"""What keeps an organization from calling, on the pages of those who wonder why requests fail: `{% load calls %}`."""

from typing import Any

from django import template
from django.template import RequestContext
from django.utils import timezone

from usage.models import Entitlement

register = template.Library()


@register.inclusion_tag("usage/calls_notice.html", takes_context=True)
def calls_notice(context: RequestContext, *, with_credits: bool = False) -> dict[str, Any]:
    """Say why the organization's requests are refused, while they are; and, if asked for, the credits left."""
    request = context["request"]
    entitlement = Entitlement.objects.filter(organization=request.organization).first()
    return {
        "organization": request.organization,
        "entitlement": entitlement,
        "refusal": entitlement.refusal(timezone.now()) if entitlement else "",
        "with_credits": with_credits,
        "may_view_cap": "alerts:view" in request.membership.permissions,
        "SUPPORT_EMAIL": context["SUPPORT_EMAIL"],
        "SALES_EMAIL": context["SALES_EMAIL"],
    }
