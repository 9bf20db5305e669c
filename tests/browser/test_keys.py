"""An API key's life, as somebody sees it who makes one and ends it."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from accounts import secrets
from accounts.models import ApiKey, Organization, User


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


def test_a_key_is_used_rotated_and_revoked(
    page: Page, sign_in: Callable[[User], None], owner: User, organization: Organization
) -> None:
    def copied(button: str) -> str:
        page.get_by_role("button", name=button).click()
        expect(page.get_by_text("The key is copied")).to_be_visible()
        return str(page.evaluate("navigator.clipboard.readText()"))

    def status(secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return page.request.get("/api/v1/api-keys/whoami", headers=headers).status

    sign_in(owner)
    page.goto(f"/o/{organization.uid}/api-keys/create/")
    page.get_by_label("Name").fill("checkout")
    page.get_by_text("Limits (optional)").click()
    page.get_by_label("Requests per minute").fill("60")
    page.get_by_role("button", name="Create key").click()
    old = copied("Copy key")
    assert status(old) == 200

    page.get_by_role("link", name="on to the key's page").click()
    page.get_by_role("link", name="Rotate…").click()
    page.get_by_label("24 hours").check()
    page.get_by_role("button", name="Rotate key").click()
    new = copied("Copy key")
    assert new != old
    assert (status(old), status(new)) == (200, 200)

    page.get_by_role("link", name="on to the key's page").click()
    page.get_by_role("button", name="Stop it now").click()
    expect(page.get_by_text("has stopped working")).to_be_visible()
    assert (status(old), status(new)) == (401, 200)

    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_text(") is disabled")).to_be_visible()
    assert status(new) == 401
    page.get_by_role("button", name="Enable").click()
    expect(page.get_by_text(") is enabled.")).to_be_visible()
    assert status(new) == 200

    page.get_by_role("link", name="Revoke…").click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("is revoked.")).to_be_visible()
    assert status(new) == 401


def test_a_viewer_reports_no_leaks_but_makes_a_key_of_their_own(
    page: Page, sign_in: Callable[[User], None], viewer: User
) -> None:
    sign_in(viewer)
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_text("Report a leaked key")).to_have_count(0)

    page.get_by_role("link", name="My personal keys").click()
    page.get_by_role("link", name="Create new personal key").click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("it will never be shown again")).to_be_visible()

    assert ApiKey.objects.get().user == viewer
