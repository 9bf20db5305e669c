"""What Stripe has to know of us: plans and packs as products and prices, the meter, the portal, and where events go.

`sync` brings Stripe to what the database says and changes nothing where it already is so; it may run at every start.
Products have ids of ours, prices are found by their lookup keys. A price never changes at Stripe: another amount is
another price, which takes over the key, and the old one is archived. Who pays the old one goes on paying it; by its
metadata it still names its plan.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import stripe
from django.conf import settings
from django.db import connection
from django.urls import reverse
from djstripe.models import WebhookEndpoint

from billing.gateway import get_stripe
from billing.models import CreditPack, Interval, Plan

CURRENCY = "usd"
METER = "credits"  # its events' name
# By which the portal's configuration, and whatever else has neither an id nor a key of ours, is known again.
OWN = {"app": "countinghouse"}

EVENTS = [
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.refunded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.updated",
    "invoice.voided",
    "payment_method.attached",
    "payment_method.detached",
]
THIN_EVENTS = ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"]
# Stripe's own prefix of destinations of thin events: their secrets are kept beside those of the webhook endpoints.
DESTINATION = "ed_"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """A price as it has to be. `amount` are cents."""

    lookup_key: str
    amount: Decimal
    metadata: dict[str, str]
    interval: str = ""
    meter: str = ""

    def is_met_by(self, price: stripe.Price) -> bool:
        recurring = price.recurring
        return (
            price.currency == CURRENCY
            and price.unit_amount_decimal is not None
            and Decimal(price.unit_amount_decimal) == self.amount
            and (recurring.interval if recurring else "") == self.interval
            and ((recurring.meter if recurring else "") or "") == self.meter
        )


def sync(*, say: Say = lambda line: None) -> None:
    """Bring Stripe to what the database says. `say` is told of each change. Raises stripe.StripeError."""
    with _one_at_a_time():
        meter = _meter(say)
        for plan in Plan.objects.filter(is_custom=False):
            _sync_plan(plan, meter, say)
        for pack in CreditPack.objects.all():
            _sync_pack(pack, say)
        _sync_portal(say)
        if _reaches_us():
            _sync_webhooks(say)
            _sync_thin_events(say)
        else:
            say(f"Stripe cannot reach {settings.BASE_URL}: it is given no address for its events.")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for another run to end: two at once would both make what Stripe has no key of ours for.

    The lock is the connection's and no transaction's, which would stay open across HTTP.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('billing.catalogue'))")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('billing.catalogue'))")


# ── Products and prices ──────────────────────────────────────────────────────────────────────────────────────
def price_of(lookup_key: str) -> stripe.Price | None:
    """Return the price that is sold under a key now."""
    found = get_stripe().v1.prices.list({"lookup_keys": [lookup_key], "active": True, "limit": 1})
    return found.data[0] if found.data else None


def _sync_plan(plan: Plan, meter: stripe.billing.Meter, say: Say) -> None:
    product = _product(f"plan_{plan.slug}", plan.name, {"plan": plan.slug}, say)
    if plan.stripe_product != product:
        Plan.objects.filter(pk=plan.pk).update(stripe_product=product)
    wanted = [
        Wanted(
            plan.usage_lookup_key,
            plan.credit_price * 100,
            {"plan": plan.slug, "usage": "credits"},
            interval=Interval.MONTH,
            meter=meter.id,
        )
    ]
    wanted += [
        Wanted(
            plan.lookup_key(interval),
            price * 100,
            {"plan": plan.slug, "interval": interval},
            interval=interval,
        )
        for interval in Interval.values
        if (price := plan.price(interval))
    ]
    _sync_prices(product, wanted, say)


def _sync_pack(pack: CreditPack, say: Say) -> None:
    product = _product(f"pack_{pack.slug}", str(pack), {"pack": pack.slug}, say)
    if pack.stripe_product != product:
        CreditPack.objects.filter(pk=pack.pk).update(stripe_product=product)
    _sync_prices(product, [Wanted(pack.lookup_key, pack.price * 100, {"pack": pack.slug})], say)


def _product(id: str, name: str, metadata: dict[str, str], say: Say) -> str:
    """Return the id of the product that a plan or pack is sold as, made or renamed if need be."""
    products = get_stripe().v1.products
    [*found] = products.list({"ids": [id]}).data
    if not found:
        try:
            products.create({"id": id, "name": name, "metadata": metadata})
            say(f"Made the product {id}.")
        except stripe.InvalidRequestError as error:
            if error.code != "resource_already_exists":  # by another run, just now
                raise
    elif (found[0].name, found[0].active) != (name, True):
        products.update(id, {"name": name, "active": True})
        say(f"Changed the product {id}.")
    return id


def _sync_prices(product: str, wanted: Iterable[Wanted], say: Say) -> None:
    """Make what is missing, let it take over its lookup key, and archive what nobody is to be sold any more."""
    prices = get_stripe().v1.prices
    active = list(prices.list({"product": product, "active": True, "limit": 100}).auto_paging_iter())
    kept = set()
    for each in wanted:
        holder = next((price for price in active if price.lookup_key == each.lookup_key), None)
        if holder is None or not each.is_met_by(holder):
            kept.add(_make_price(product, each, after=holder).id)
            say(f"Made the price {each.lookup_key} of {(each.amount / 100).normalize():f} dollars.")
        else:
            kept.add(holder.id)
    for price in active:
        if price.id not in kept:
            prices.update(price.id, {"active": False})
            say(f"Archived the price {price.id} of {product}.")


def _make_price(product: str, wanted: Wanted, *, after: stripe.Price | None) -> stripe.Price:
    params: dict[str, Any] = {
        "product": product,
        "currency": CURRENCY,
        "unit_amount_decimal": f"{wanted.amount.normalize():f}",
        "lookup_key": wanted.lookup_key,
        "transfer_lookup_key": True,
        "metadata": wanted.metadata,
        "nickname": wanted.lookup_key,
    }
    if wanted.interval:
        params["recurring"] = {"interval": wanted.interval}
        if wanted.meter:
            params["recurring"] |= {"usage_type": "metered", "meter": wanted.meter}
    # Two runs at once make one price; a price that comes back after another one is made again.
    key = f"price:{wanted.lookup_key}:{params['unit_amount_decimal']}:{wanted.meter}:{after.id if after else ''}"
    return get_stripe().v1.prices.create(params, {"idempotency_key": key})  # type: ignore[arg-type]


# ── The meter ────────────────────────────────────────────────────────────────────────────────────────────────
def meter() -> stripe.billing.Meter | None:
    """Return the meter that credits of overage are reported to."""
    for status in ("active", "inactive"):
        for found in get_stripe().v1.billing.meters.list({"status": status}).auto_paging_iter():
            if found.event_name == METER:
                return found
    return None


def _meter(say: Say) -> stripe.billing.Meter:
    meters = get_stripe().v1.billing.meters
    found = meter()
    if found is None:
        say("Made the meter of credits.")
        return meters.create(
            {
                "display_name": "Credits",
                "event_name": METER,
                "default_aggregation": {"formula": "sum"},
                "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                "value_settings": {"event_payload_key": "value"},
            },
            {"idempotency_key": f"meter:{METER}"},
        )
    return meters.reactivate(found.id) if found.status == "inactive" else found


# ── The portal ───────────────────────────────────────────────────────────────────────────────────────────────
# Stripe's portal changes no subscription with a metered price, as all of ours have: our page does that.
PORTAL: dict[str, Any] = {
    "customer_update": {"enabled": True, "allowed_updates": ["address", "email", "name", "tax_id"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True, "mode": "immediately", "proration_behavior": "none"},
    "subscription_update": {"enabled": False},
}


def portal_configuration() -> stripe.billing_portal.Configuration | None:
    """Return our configuration of the portal, if there is one."""
    configurations = get_stripe().v1.billing_portal.configurations.list({"active": True, "limit": 100})
    for found in configurations.auto_paging_iter():
        if found.metadata and found.metadata.to_dict().items() >= OWN.items():
            return found
    return None


def _sync_portal(say: Say) -> None:
    configurations = get_stripe().v1.billing_portal.configurations
    params: dict[str, Any] = {
        "business_profile": {"headline": settings.BRAND},
        "default_return_url": settings.BASE_URL,
        "features": PORTAL,
    }
    found = portal_configuration()
    if found is None:
        configurations.create(params | {"metadata": OWN})  # type: ignore[arg-type]
        say("Made the configuration of the portal.")
    elif not _holds(found.to_dict(), params):
        configurations.update(found.id, params)  # type: ignore[arg-type]
        say("Changed the configuration of the portal.")


def _holds(there: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; there may be more."""
    if isinstance(wanted, dict):
        return all(name in there and _holds(there[name], value) for name, value in wanted.items())
    return sorted(there) == sorted(wanted) if isinstance(wanted, list) else bool(there == wanted)


# ── Where events go ──────────────────────────────────────────────────────────────────────────────────────────
def _reaches_us() -> bool:
    """Whether Stripe can send to BASE_URL: its servers reach no private address, the simulator only this machine."""
    host = urlsplit(settings.BASE_URL).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (host == "localhost") is bool(settings.STRIPE_IS_SIMULATED)
    return address.is_loopback if settings.STRIPE_IS_SIMULATED else not address.is_private


def _sync_webhooks(say: Say) -> None:
    """Have one endpoint, whose secret is in the database: Stripe tells it only when an endpoint is made."""
    endpoints = get_stripe().v1.webhook_endpoints
    remote = {endpoint.id: endpoint for endpoint in endpoints.list({"limit": 100}).auto_paging_iter()}
    ours = WebhookEndpoint.objects.exclude(id__startswith=DESTINATION).filter(
        livemode=settings.STRIPE_LIVE_MODE
    )
    known = None
    for row in ours.order_by("djstripe_id"):
        there = remote.get(row.id)
        if there and row.secret and there.api_version == settings.STRIPE_API_VERSION and known is None:
            known = row
        elif there is None:
            row.delete()
    if known is not None:
        there = remote[known.id]
        url = _webhook_url(str(known.djstripe_uuid))
        if (there.url, sorted(there.enabled_events), there.status) != (url, EVENTS, "enabled"):
            changed: Any = {"url": url, "enabled_events": EVENTS, "disabled": False}
            _keep(endpoints.update(known.id, changed), secret=known.secret)
            say(f"Changed the webhook endpoint to {url}.")
    else:
        uuid = str(uuid4())
        made = endpoints.create(
            {
                "url": _webhook_url(uuid),
                "enabled_events": EVENTS,  # type: ignore[typeddict-item]
                "api_version": settings.STRIPE_API_VERSION,  # type: ignore[typeddict-item]
                "description": settings.BRAND,
                "metadata": {"djstripe_uuid": uuid},
            }
        )
        known = _keep(made, secret=made.secret or "")
        say(f"Made the webhook endpoint {made.url}.")
    # What was made by a run that was interrupted, or without the database of before, nobody has the secret of.
    base = _webhook_url("")
    for endpoint in remote.values():
        if endpoint.id != known.id and endpoint.url.startswith(base):
            endpoints.delete(endpoint.id)
            WebhookEndpoint.objects.filter(id=endpoint.id).delete()
            say(f"Deleted the webhook endpoint {endpoint.id}.")


def _webhook_url(uuid: str) -> str:
    nobody = "00000000-0000-0000-0000-000000000000"
    path = reverse("djstripe:djstripe_webhook_by_uuid", args=[uuid or nobody])
    url: str = settings.BASE_URL + path
    return url if uuid else url.partition(nobody)[0]


def _keep(endpoint: stripe.WebhookEndpoint, *, secret: str) -> WebhookEndpoint:
    kept: WebhookEndpoint = WebhookEndpoint.sync_from_stripe_data(
        endpoint.to_dict() | {"secret": secret}, api_key=settings.STRIPE_SECRET_KEY
    )
    return kept


def _sync_thin_events(say: Say) -> None:
    """Have one destination of thin events, by which Stripe tells of reports that its meter could not take."""
    destinations = get_stripe().v2.core.event_destinations
    url = settings.BASE_URL + reverse("stripe_thin_events")
    remote = {
        found.id: found
        for found in destinations.list({"include": ["webhook_endpoint.url"]}).auto_paging_iter()
        if found.webhook_endpoint
    }
    ours = WebhookEndpoint.objects.filter(id__startswith=DESTINATION, livemode=settings.STRIPE_LIVE_MODE)
    kept = next((row.id for row in ours if row.id in remote and row.url == url and row.secret), None)
    for found in remote.values():
        if found.id != kept and (ours.filter(id=found.id).exists() or _address(found) == url):
            destinations.delete(found.id)
    ours.exclude(id=kept or "").delete()
    if kept:
        return
    made = destinations.create(
        {
            "name": f"{settings.BRAND}: meter errors",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": THIN_EVENTS,
            "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
        }
    )
    WebhookEndpoint.objects.create(
        id=made.id,
        url=url,
        secret=made.webhook_endpoint.signing_secret if made.webhook_endpoint else "",
        enabled_events=THIN_EVENTS,
        api_version=settings.STRIPE_API_VERSION,
        status="enabled",
        livemode=settings.STRIPE_LIVE_MODE,
        stripe_data={},
    )
    say(f"Made the destination of thin events {url}.")


def _address(destination: Any) -> str:
    return str(destination.webhook_endpoint.url or "")
