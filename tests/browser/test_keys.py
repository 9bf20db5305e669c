"""An API key's life, as somebody sees it who makes one and ends it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from accounts import secrets
from accounts.models import ApiKey, Organization, User

pytestmark = pytest.mark.xdist_group("browser")


def test_a_key_is_created_copied_once_and_revoked(
    page: Page, sign_in: Callable[[User], None], owner: User, organization: Organization
) -> None:
    sign_in(owner)
    page.get_by_role("link", name="API keys").click()

    page.get_by_role("link", name="Create new API key").first.click()
    page.get_by_label("Name").fill("checkout")
    page.get_by_label("Staging").check()
    page.get_by_role("button", name="Create key").click()
    page.get_by_role("button", name="Copy key").click()
    expect(page.get_by_text("The key is copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")

    assert secrets.is_well_formed(copied)
    assert copied.startswith("ch_staging_")
    key = ApiKey.objects.with_secret(copied).get()

    page.reload()
    expect(page.get_by_text("This form has made its key already")).to_be_visible()
    expect(page.get_by_text(copied)).to_have_count(0)
    page.go_back()
    expect(page.get_by_text(copied)).to_have_count(0)
    assert list(ApiKey.objects.all()) == [key]

    page.get_by_role("link", name="API keys").first.click()
    page.get_by_role("link", name="Revoke").click()
    expect(page.get_by_text("ends its access immediately")).to_be_visible()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("is revoked.")).to_be_visible()
    key.refresh_from_db()
    assert key.state == "revoked"
