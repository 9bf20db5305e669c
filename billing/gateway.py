"""The one way to Stripe: its SDK, bounded in time. Without a key of Stripe's, the demo's simulator answers it.

Callers see the SDK's client and its errors (`stripe.StripeError`). Nothing calls it with a transaction open.
"""

import os
from functools import cache

import stripe
from django.conf import settings

TIMEOUT = (3, 10)  # seconds to connect, and to wait for an answer
RETRIES = 2  # by the SDK, with the same idempotency key


def get_stripe() -> stripe.StripeClient:
    """Return this process's client, made when it is first asked for: a fork shares no connection."""
    return _client(os.getpid(), settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@cache
def _client(process_id: int, key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=settings.STRIPE_API_VERSION,
        base_addresses={"api": base},
        http_client=stripe.RequestsClient(timeout=TIMEOUT),
        max_network_retries=RETRIES,
    )


def set_up() -> None:
    """Have the SDK's own functions, which dj-stripe calls, ask the same server in the same way."""
    stripe.api_base = settings.STRIPE_API_BASE
    stripe.api_version = settings.STRIPE_API_VERSION
    stripe.default_http_client = stripe.RequestsClient(timeout=TIMEOUT)
    stripe.max_network_retries = RETRIES
