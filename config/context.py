"""What every template may use."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    return {
        "BRAND": settings.BRAND,
        "SUPPORT_EMAIL": settings.SUPPORT_EMAIL,
        "SALES_EMAIL": settings.SALES_EMAIL,
        "STUDIO_URL": settings.STUDIO_URL,
        "DEMO": settings.DEMO,
        "EMBEDDED_MAIL": not settings.EMAIL_URL,
    }
