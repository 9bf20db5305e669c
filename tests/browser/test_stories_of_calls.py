"""Support stories about calls, from the mail to the fix: refused ones, a leaked key, and more of them than ever."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.audit import Action, Actor
from accounts.models import ApiKey, Notification, Organization, User
from config import staff_groups
from tests.billing.conftest import Use, use
from tests.browser.desk import Desk, reason_of
from tests.usage.conftest import data_plane, post_jobs, rates
from usage.models import Entitlement, SpendCap

__all__ = ["data_plane", "post_jobs", "rates", "use"]

DeskOf = Callable[[str], Desk]
Verify = Callable[..., dict[str, Any]]
ELSEWHERE = "198.51.100.7"


@pytest.fixture
def verify(data_plane: Client) -> Verify:
    """Ask as the data plane does."""

    def ask(key: str, **fields: Any) -> dict[str, Any]:
        answer = data_plane.post(
            "/api/v1/gateway/verify", {"key": key, **fields}, content_type="application/json"
        )
        told: dict[str, Any] = answer.json()
        return told

    return ask


def test_out_of_credits(
    desk_of: DeskOf,
    use: Use,
    verify: Verify,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    """My calls fail since noon. We have not changed anything. Please help, quickly! Olivia, olivia@example.com"""
    use(int(Entitlement.objects.get(organization=organization).credits_remaining or 0))
    assert verify(organization_key[1])["code"] == "OUT_OF_CREDITS"
    desk = desk_of(staff_groups.BILLING_DESK)

    desk.search("olivia@example.com")
    desk.reads("Calls: refused", "No credits are left, and nobody is billed for more.")
    desk.press("Give credits…")
    desk.write("Credits", "250")
    desk.write("Reason", "To go on until you have bought some").press("Enter")

    desk.ends("calls refused: out of credits", done="The credits are there.", at_most=3)
    assert verify(organization_key[1])["code"] == "VALID"
    assert reason_of(Action.CREDITS_GRANTED) == "To go on until you have bought some"


def test_address_that_is_not_on_the_list(
    desk_of: DeskOf, verify: Verify, organization: Organization, owner: User
) -> None:
    """Since we moved to new servers all is refused. Our address is 198.51.100.7, the key is the one in the subject."""
    key, secret = keys.create_organization_key(
        organization=organization, name="production", allowed_ips=["203.0.113.0/24"], actor=Actor(owner)
    )
    assert verify(secret, ip=ELSEWHERE)["code"] == "FORBIDDEN"
    desk = desk_of(staff_groups.ENGINEER)

    desk.search(f"{key.uid} {ELSEWHERE}")
    desk.reads("It is refused now: FORBIDDEN", f"{ELSEWHERE} is not in 203.0.113.0/24.")
    desk.press("Allow this address…")
    desk.write("Reason", "Olivia asked, called back at the known number").press("Enter")

    desk.ends("calls refused: IP list", done=f"may be used from {ELSEWHERE}.", at_most=3)
    assert verify(secret, ip=ELSEWHERE)["code"] == "VALID"
    assert verify(secret, ip="192.0.2.1")["code"] == "FORBIDDEN"
    assert reason_of(Action.API_KEY_UPDATED) == "Olivia asked, called back at the known number"
    assert Notification.objects.filter(user=owner, title__contains="one more address").exists()


def test_answer_of_verify_leads_to_its_explanation(
    desk_of: DeskOf, verify: Verify, organization: Organization, owner: User
) -> None:
    """We get this from you and do not know what to do with it: {"valid": false, "code": "FORBIDDEN", …}"""
    _, secret = keys.create_organization_key(
        organization=organization, name="production", allowed_ips=["203.0.113.0/24"], actor=Actor(owner)
    )
    desk = desk_of(staff_groups.SUPPORT)

    desk.search(json.dumps(verify(secret, ip=ELSEWHERE)))

    desk.reads("It is refused now: FORBIDDEN", "That is what the answer said as well.")
    assert desk.clicks == 1


def test_leaked_key(
    desk_of: DeskOf, verify: Verify, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    """I pushed our key to a public repository by mistake. It is in the text. Please make it stop at once!"""
    key, secret = organization_key
    desk = desk_of(staff_groups.ENGINEER)

    desk.search(f'I pushed this by mistake: API_KEY="{secret}" – please make it stop at once! Olivia')
    desk.reads(key.masked, "active")
    assert secret not in desk.page.url + desk.page.content()
    desk.press("Revoke")
    desk.write("Reason", "You told us that it is public").press("Enter")

    desk.ends("leaked key", done="is revoked.", at_most=3)
    assert verify(secret)["code"] == "REVOKED"
    assert reason_of(Action.API_KEY_REVOKED) == "You told us that it is public"
    assert Notification.objects.filter(user=owner, title__contains="revoked the API key").exists()


def test_usage_spike(
    desk_of: DeskOf,
    use: Use,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    owner: User,
) -> None:
    """Something of ours eats credits as never before. What, and can you stop it at $50? olivia@example.com"""
    nightly, _ = keys.create_organization_key(
        organization=organization, name="nightly import", actor=Actor(owner)
    )
    use(2, days_ago=7)
    use(2)
    use(38, key=nightly)
    desk = desk_of(staff_groups.BILLING_DESK)

    desk.search("olivia@example.com")
    desk.reads("Today by key:", re.compile(r"nightly import\s*95%"))
    desk.press("Set a cap")
    desk.write("Amount", "50")
    desk.write("Reason", "Olivia asked for it").press("Enter")

    desk.ends("usage spike", done=re.compile("was added successfully"), at_most=3)
    assert SpendCap.objects.get(organization=organization).amount == Decimal(50)
    assert reason_of(Action.SPEND_CAP_SET) == "Olivia asked for it"
