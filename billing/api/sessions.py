"""Links to pages of Stripe's, for a program to hand to whoever pays: the portal, and Checkout."""

import logging
from collections.abc import Callable
from typing import Any

import stripe
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import actor_of
from accounts.api.base import ORG_ID, Conflict, OrganizationRequest, read_body, read_query
from accounts.permissions import Permission
from billing import calls, checkout, offers
from billing.models import CreditPack, Interval, Plan
from billing.views.pages import address, not_set_up

logger = logging.getLogger(__name__)

_URL = {"url": "https://checkout.stripe.com/c/pay/cs_live_…"}


class StripeAway(APIException):
    """Stripe does not answer, or not as it should."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "Stripe cannot be reached at the moment, and nothing was changed. Try again."
    wait = 10


class SessionLine(serializers.Serializer[Any]):
    url = serializers.CharField(
        help_text="Open it in the browser of whoever pays. It expires after some hours."
    )


class Nothing(serializers.Serializer[Any]):
    """A body without fields."""


class CheckoutBody(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(["plan", "pack"], help_text="A first subscription, or a pack of credits.")
    plan = serializers.SlugField(
        required=False, help_text="The plan's id. One that bills usage only adds a card."
    )
    interval = serializers.ChoiceField(Interval.choices, required=False, help_text="By default `month`.")
    pack = serializers.SlugField(required=False, help_text="The pack's id.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind = attrs["kind"]
        other = {"plan": ["pack"], "pack": ["plan", "interval"]}[kind]
        for name in other:
            if name in attrs:
                raise serializers.ValidationError({name: f"This does not go together with the kind {kind}."})
        if kind not in attrs:
            raise serializers.ValidationError({kind: "This field is required."})
        return attrs


class PortalSession(APIView):
    permission = Permission.BILLING_MANAGE

    @extend_schema(
        operation_id="create_portal_session",
        summary="Open the billing portal",
        description="A link to Stripe's portal: payment methods, billing address, tax id, invoices. 409 where nothing "
        "was ever paid for with Stripe.",
        tags=["billing"],
        parameters=[ORG_ID],
        request=Nothing,
        responses={201: SessionLine},
        examples=[
            OpenApiExample(
                "A link", value={"url": "https://billing.stripe.com/p/session/…"}, response_only=True
            )
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        read_query(Nothing, request, and_no_others=True)
        read_body(Nothing, request)
        return _answer(
            request,
            lambda: checkout.portal(
                organization=request.organization,
                actor=actor_of(request),
                return_url=address(request.organization, "overview"),
            ),
        )


class CheckoutSession(APIView):
    permission = Permission.BILLING_MANAGE

    @extend_schema(
        operation_id="create_checkout_session",
        summary="Begin a checkout",
        description="A link to Stripe's Checkout for a first subscription or a pack of credits. 409 where there is a "
        "subscription already: it is changed on the page of plans.",
        tags=["billing"],
        parameters=[ORG_ID],
        request=CheckoutBody,
        responses={201: SessionLine},
        examples=[
            OpenApiExample(
                "Pro by month", value={"kind": "plan", "plan": "pro", "interval": "month"}, request_only=True
            ),
            OpenApiExample("A pack", value={"kind": "pack", "pack": "10000"}, request_only=True),
            OpenApiExample("A link", value=_URL, response_only=True),
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        read_query(Nothing, request, and_no_others=True)
        asked = read_body(CheckoutBody, request)
        shared: dict[str, Any] = {
            "organization": request.organization,
            "actor": actor_of(request),
            "success_url": address(request.organization, "checkout_done"),
            "cancel_url": address(request.organization, "checkout_left"),
        }
        if asked["kind"] == "pack":
            pack = CreditPack.objects.filter(slug=asked["pack"], is_offered=True).first()
            if pack is None:
                raise serializers.ValidationError({"pack": "There is no such pack on offer."})
            return _answer(request, lambda: checkout.buy(pack=pack, **shared), param="pack")
        interval = asked.get("interval", Interval.MONTH)
        plan = offers.named(asked["plan"], interval, Plan.objects.filter(is_offered=True))
        if plan is None:
            raise serializers.ValidationError({"plan": "There is no such plan on offer at this interval."})
        return _answer(
            request, lambda: checkout.subscribe(plan=plan, interval=interval, **shared), param="plan"
        )


def _answer(request: OrganizationRequest, ask: Callable[[], str], *, param: str = "") -> Response:
    if not calls.can_pay():
        raise Conflict(not_set_up())
    try:
        return Response({"url": ask()}, status=201)
    except checkout.AlreadySubscribed:
        raise Conflict("There is a subscription already: change it instead.") from None
    except checkout.NotOffered:
        raise Conflict({param: "This cannot be bought as things are now."}) from None
    except checkout.NoCustomer:
        raise Conflict("Nothing was ever paid for with Stripe, so there is no portal.") from None
    except stripe.StripeError as error:
        logger.warning("Stripe did not open a page for %s", request.organization.uid, exc_info=True)
        raise StripeAway from error
