"""What support sends by an impatient double click is sent once."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts import audit
from accounts.models import AuditEntry, User

pytestmark = pytest.mark.usefixtures("in_back_office")


def test_an_act_in_a_dialog(page: Page, member: User) -> None:
    page.goto(reverse("admin:accounts_user_change", args=[member.pk]))
    page.locator("li a", has_text="Signing in").click()
    page.locator("nav").get_by_text("Sign out everywhere").click()
    page.get_by_label("Reason").fill("They lost their laptop")

    page.get_by_role("button", name="Sign out everywhere").dblclick()

    expect(page.get_by_text("Sessions of mia@example.com that ended: 0.")).to_be_visible()
    assert AuditEntry.objects.filter(action=audit.Action.SESSION_ENDED).count() == 1
