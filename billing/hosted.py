"""Pages of Stripe's that ours lead to: where an invoice is paid, its PDF, its receipt, and its dashboard for staff."""

from django.conf import settings
from django.utils.html import format_html


def link(url: str) -> str:
    """An address that may be led to: over TLS, or at the simulator of this machine. Of others nothing is left."""
    is_simulated = settings.STRIPE_IS_SIMULATED and url.startswith(f"{settings.STRIPE_API_BASE}/")
    return url if url.startswith("https://") or is_simulated else ""


def at_stripe(kind: str, id: str) -> str:
    """A link to an object in Stripe's dashboard, or to the simulator's page, which lists all it has."""
    if not id:
        return "–"
    if settings.STRIPE_IS_SIMULATED:
        url = f"{settings.STRIPE_API_BASE}/"
    else:
        mode = "" if settings.STRIPE_LIVE_MODE else "test/"
        url = f"https://dashboard.stripe.com/{mode}{kind}/{id}"
    return format_html('<a class="text-link" href="{}" target="_blank" rel="noopener">{}</a>', url, id)
