"""What a reached spend cap looks like on the pages of those who wonder why requests fail: `{% load caps %}`."""

from datetime import datetime
from functools import lru_cache
from typing import Any

from django import template
from django.template import RequestContext
from django.utils import timezone

from usage import spending

register = template.Library()


@register.inclusion_tag("usage/cap_notice.html", takes_context=True)
def cap_notice(context: RequestContext) -> dict[str, Any]:
    """Say that requests are refused for the spend cap, while they are."""
    organization = context["request"].organization
    until = _marked_until(organization.pk, organization.access_version)
    reached_until = until if until and until > timezone.now() else None
    return {"organization": organization, "reached_until": reached_until}


@lru_cache(maxsize=10_000)
def _marked_until(organization_pk: int, access_version: int) -> datetime | None:
    """Whoever writes the mark makes a new version of the organization: these pages need not ask each time."""
    return spending.marked_until(organization_pk)
