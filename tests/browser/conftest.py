"""A real browser looking at a real server."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.browser.desk import Desk, counted
from tests.conftest import PASSWORD, colleague, sign_in_verified


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium: CHROMIUM, or the one on the path. Without one the tests are skipped, but not under CI."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        message = "No Chromium found: install Debian's chromium, or set CHROMIUM to its path."
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # Playwright's synchronous API keeps an event loop in this thread: Django would refuse queries beside it, and no
    # test outside this folder could run a loop of its own.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def context(browser: Browser, live_server: LiveServer) -> Iterator[BrowserContext]:
    """Open a fresh profile on the live server. It may reach nothing else."""
    context = browser.new_context(base_url=live_server.url, permissions=["clipboard-read", "clipboard-write"])
    context.route(lambda url: not url.startswith(live_server.url), lambda route: route.abort())
    expect.set_options(timeout=10_000)
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def sign_in(page: Page) -> Callable[[User], None]:
    """Sign somebody of the cast in, as they would."""

    def as_person(user: User) -> None:
        page.goto("/")
        page.get_by_label("Email").fill(user.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out").wait_for()

    return as_person


@pytest.fixture
def in_back_office(context: BrowserContext, back_office: Client, live_server: LiveServer) -> None:
    """The browser's session is one of the staff's that a device has verified."""
    [session] = [cookie for name, cookie in back_office.cookies.items() if name == "sessionid"]
    context.add_cookies([{"name": "sessionid", "value": session.value, "url": live_server.url}])


@pytest.fixture
def desk_of(
    context: BrowserContext, live_server: LiveServer, record_property: Callable[[str, object], None]
) -> Callable[[str], Desk]:
    """Somebody of a group of the staff, signed in with a device, before the overview."""

    def open_desk(group: str) -> Desk:
        client = Client()
        sign_in_verified(client, colleague("Sam", group))
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        return counted(context, record_property)

    return open_desk
