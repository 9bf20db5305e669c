"""Endpoints of webhooks, as somebody sees them who adds one, needs its secret, and is done with it."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from accounts.audit import Action
from accounts.models import AuditEntry, Organization, User
from webhooks.gateway import get_svix
from webhooks.models import Endpoint


def test_an_endpoint_is_added_revealed_edited_and_deleted(
    page: Page, sign_in: Callable[[User], None], owner: User, organization: Organization
) -> None:
    sign_in(owner)
    page.get_by_role("link", name="Webhooks", exact=True).first.click()
    expect(page.get_by_text("No endpoint yet")).to_be_visible()

    page.get_by_role("link", name="Add endpoint").click()
    expect(page.get_by_label("job.completed")).to_be_hidden()
    page.get_by_label("URL").fill("http://10.0.0.1/")
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_text("We cannot reach addresses of private networks.")).to_be_visible()
    page.get_by_label("URL").fill("https://example.com/webhooks")
    page.get_by_label("Description").fill("Production")
    page.get_by_label("Only those chosen below").check()
    page.get_by_label("job.completed").check()
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_text("The endpoint is added")).to_be_visible()

    page.get_by_role("button", name="Reveal secret").click()
    endpoint = Endpoint.objects.get()
    secret = get_svix().endpoint.get_secret(organization.uid, endpoint.uid).key
    page.get_by_role("button", name="Copy secret").click()
    expect(page.get_by_text("The secret is copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    expect(page.locator("#verify-python")).to_contain_text(secret)
    assert AuditEntry.objects.filter(action=Action.ENDPOINT_SECRET_REVEALED).count() == 1

    page.get_by_role("link", name="Back to the endpoint").click()
    expect(page.get_by_text(secret)).to_have_count(0)
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_text("Channels, headers and rate limit").click()
    page.get_by_label("Custom headers").fill("X-Source: billing")
    page.get_by_label("All, also of types").check()
    expect(page.get_by_label("job.completed")).to_be_hidden()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("X-Source: billing")).to_be_visible()

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete endpoint").click()
    expect(page.get_by_text("No endpoint yet")).to_be_visible()
    assert not Endpoint.objects.existing().exists()
