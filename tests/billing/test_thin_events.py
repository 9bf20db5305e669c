"""The endpoint of thin events takes what Stripe has signed, and nothing else."""

import json
import time
from typing import Any

import pytest
import stripe
from django.test import Client
from djstripe.models import WebhookEndpoint

from billing import thin_events

URL = "/stripe/thin-events/"
SECRET = "whsec_of_the_destination"


@pytest.fixture(autouse=True)
def destination(db: None) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        id="ed_test_1", url="", secret=SECRET, enabled_events=[], status="enabled", stripe_data={}
    )


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(thin_events, "note", found.append)
    return found


def post(kind: str = thin_events.ERROR_REPORT, *, secret: str = SECRET, age: int = 0) -> int:
    event: dict[str, Any] = {
        "id": "evt_test_1",
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "created": "2026-11-01T00:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    payload = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(
        payload, secret, timestamp=int(time.time()) - age
    )
    response = Client().post(
        URL, payload, content_type="application/json", headers={"Stripe-Signature": signature}
    )
    return response.status_code


def test_an_error_report_is_noted(noted: list[str]) -> None:
    assert post() == 200

    assert noted == ["evt_test_1"]


def test_what_is_signed_otherwise_is_refused(noted: list[str]) -> None:
    assert post(secret="whsec_of_somebody_else") == 400

    assert noted == []


def test_what_was_signed_long_ago_is_refused(noted: list[str]) -> None:
    assert post(age=400) == 400

    assert noted == []


def test_other_news_of_the_meter_concern_no_report(noted: list[str]) -> None:
    assert post("v1.billing.meter.no_meter_found") == 200

    assert noted == []


def test_what_is_not_signed_is_refused(noted: list[str]) -> None:
    response = Client().post(URL, "{}", content_type="application/json")

    assert response.status_code == 400
