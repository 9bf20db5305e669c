"""Pages of Stripe's that ours lead to: where an invoice is paid, its PDF, its receipt."""

from django.conf import settings


def link(url: str) -> str:
    """An address that may be led to: over TLS, or at the simulator of this machine. Of others nothing is left."""
    is_simulated = settings.STRIPE_IS_SIMULATED and url.startswith(f"{settings.STRIPE_API_BASE}/")
    return url if url.startswith("https://") or is_simulated else ""
