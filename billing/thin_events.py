"""Where Stripe tells of reports that its meter could not take. Its events are thin: the rest is read by their id."""

import logging

import stripe
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from djstripe.models import WebhookEndpoint

from accounts.access import public
from billing.catalogue import DESTINATION
from billing.gateway import get_stripe
from billing.models import MeterReport

logger = logging.getLogger(__name__)

ERROR_REPORT = "v1.billing.meter.error_report_triggered"


@public
@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """Note which reports were not counted. 400 is for what Stripe has not signed; if reading fails, it tries again."""
    notification = _verified(request)
    if notification is None:
        return HttpResponseBadRequest()
    # Other things that Stripe says of the meter concern no report.
    if notification.type == ERROR_REPORT:
        note(notification.id)
    else:
        logger.error("Stripe's meter: %s (%s)", notification.type, notification.id)
    return HttpResponse()


def _verified(request: HttpRequest) -> stripe.v2.core.EventNotification | None:
    signature = request.headers.get("Stripe-Signature", "")
    for secret in WebhookEndpoint.objects.filter(id__startswith=DESTINATION).values_list("secret", flat=True):
        try:
            return get_stripe().parse_event_notification(request.body, signature, secret)
        except (stripe.SignatureVerificationError, ValueError):
            continue
    return None


def note(event_id: str) -> int:
    """Note why with the reports that an error report names. Returns how many.

    They are some of those concerned, and all of them stay sent: what of them the meter does not count, reconciling
    finds and reports once more.
    """
    event = get_stripe().v2.core.events.retrieve(event_id).to_dict()
    noted = 0
    for kind in event["data"]["reason"]["error_types"]:
        logger.error("Stripe's meter did not count %s reports: %s", kind["error_count"], kind["code"])
        for sample in kind["sample_errors"]:
            noted += MeterReport.objects.filter(
                identifier=sample["request"]["identifier"], state=MeterReport.State.SENT
            ).update(last_error=sample["error_message"])
    return noted
