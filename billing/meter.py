"""Stripe's meter of credits: telling it what was used, and asking what it counted.

It takes whole credits, above or below 0, once for each identifier, and tells later what it counted: for some minutes,
at times hours, that is less than it was told. It answers for whole minutes.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache

import stripe
from django.conf import settings

from billing import catalogue
from billing.gateway import get_stripe
from billing.models import MeterReport

MINUTE = timedelta(minutes=1)
# Stripe takes no moments that lie further back.
OLDEST = timedelta(days=35)
# For as long it surely knows an identifier again.
REMEMBERED = timedelta(hours=24)


class NoMeter(Exception):
    """Stripe has no meter of credits: the catalogue was not sent there."""


class Refused(Exception):
    """Stripe will not count a report, now or later."""


class TooOld(Exception):
    """The moment of a report lies too far back."""


def send(report: MeterReport) -> None:
    """Have a report counted, once however often it is sent.

    Raises Refused, TooOld, and StripeError where it is not known whether it was counted.
    """
    try:
        get_stripe().v1.billing.meter_events.create(
            {
                "event_name": catalogue.METER,
                "identifier": report.identifier,
                "payload": {"stripe_customer_id": report.stripe_customer, "value": str(report.quantity)},
                "timestamp": int(report.timestamp.timestamp()),
            }
        )
    except stripe.InvalidRequestError as error:
        message = error.user_message or str(error)
        if "already exists with identifier" in message:
            return
        if error.param == "timestamp":  # by its clock, which need not be ours
            if "past" in message:
                raise TooOld from error
            raise
        raise Refused(message) from error


def counted(customer: str, start: datetime, end: datetime) -> Decimal:
    """The credits that were counted from one whole minute to another."""
    summaries = get_stripe().v1.billing.meters.event_summaries.list(
        _id(),
        {"customer": customer, "start_time": int(start.timestamp()), "end_time": int(end.timestamp())},
    )
    return sum((Decimal(str(one.aggregated_value)) for one in summaries.data), Decimal(0))


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _id() -> str:
    return _id_at(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@cache
def _id_at(key: str, base: str) -> str:
    """The meter's id in the account that this key opens; it never changes."""
    found = catalogue.meter()
    if found is None:
        raise NoMeter
    return found.id
