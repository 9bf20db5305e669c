"""Whether an organization may call, as the back office lists it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization
from usage.models import STANDINGS, Entitlement

LIST = reverse("admin:usage_entitlement_changelist")
TERMS: dict[str, dict[str, Any]] = {
    "allowed": {},
    "suspended": {"may_call": False, "credits_ceiling": 0},
    "out_of_credits": {"credits_ceiling": 0},
    "capped": {"credits_ceiling": 0, "spend_cap_reached_until": timezone.now() + timedelta(days=1)},
}


@pytest.mark.parametrize("chosen", TERMS)
def test_the_list_and_its_filter_go_by_what_verify_answers(
    back_office: Client, organization: Organization, chosen: str
) -> None:
    Entitlement.objects.update(credits_ceiling=None, overage_allowed=False)
    Entitlement.objects.filter(organization=organization).update(**TERMS[chosen])
    words = STANDINGS[Entitlement.objects.get(organization=organization).refusal(timezone.now())]

    listed = {
        name: back_office.get(LIST, {"q": organization.uid, "calls": name}).context["cl"].result_list
        for name in TERMS
    }
    page = back_office.get(LIST, {"q": organization.uid}).content.decode()

    assert [name for name, rows in listed.items() if rows] == [chosen]
    assert words in page
