"""Debugging deliveries: a test, its attempt, a receiver that breaks, and what failed sent again."""

import re
from collections.abc import Callable
from threading import Thread

from django.db import connection
from playwright.sync_api import Page, expect

from accounts.models import Organization, User
from tests.webhooks.conftest import Receiver, deliver, receiver
from webhooks import endpoints, outbox, replays

__all__ = ["receiver"]


def beside(work: Callable[[], object]) -> None:
    """Work in a thread of its own: the browser's event loop runs in this one."""

    def run() -> None:
        work()
        connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()


def deliver_beside() -> None:
    """Deliver what is due."""
    beside(deliver)


def test_from_a_test_by_way_of_a_failure_to_recovery(
    page: Page,
    sign_in: Callable[[User], None],
    owner: User,
    organization: Organization,
    receiver: Receiver,
) -> None:
    sign_in(owner)
    page.goto(f"/o/{organization.uid}/webhooks/create/")
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_text("The endpoint is added")).to_be_visible()

    page.goto(f"/o/{organization.uid}/webhooks/")
    page.get_by_role("link", name=receiver.url).first.click()
    page.get_by_role("link", name="Send a test").click()
    page.wait_for_load_state("load")
    page.get_by_label("Event type").select_option("job.failed")
    expect(page.get_by_label("Payload")).to_have_value(re.compile("password protected"))
    page.get_by_role("button", name="Send test").click()
    expect(page.get_by_text("The test is on its way")).to_be_visible()
    deliver_beside()
    expect(page.get_by_text("Succeeded")).to_be_visible()  # the page looks again by itself
    expect(page.locator("#payload")).to_contain_text('"type": "job.failed"')

    receiver.answer(500, body=b"out of order")
    outbox.send(organization=organization, event_type="job.completed", data={"job_id": "job-1"})
    deliver_beside()
    page.get_by_role("link", name="Webhook messages").click()
    expect(page.locator("#lines").get_by_text("Retrying", exact=True)).to_be_visible()
    page.get_by_role("link", name="job.completed").click()
    expect(page.locator("#answer")).to_have_text("out of order")
    expect(page.get_by_text("next attempt")).to_be_visible()

    page.get_by_role("link", name=receiver.url).first.click()
    page.get_by_role("link", name="Recover").click()
    page.get_by_label("The last hour").check()
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("Everything that failed")).to_be_visible()
    deliver_beside()
    page.get_by_role("link", name="job.completed").click()
    expect(page.get_by_text("It arrived.")).to_be_visible()
    expect(page.get_by_text("By hand")).to_be_visible()
    assert len(receiver.arrivals) == 3


def test_what_was_missed_is_replayed_while_the_page_tells_how_far_it_is(
    page: Page,
    sign_in: Callable[[User], None],
    owner: User,
    organization: Organization,
    receiver: Receiver,
) -> None:
    made = endpoints.create(organization=organization, url=receiver.url, disabled=True, actor=None)
    for number in range(3):
        outbox.send(organization=organization, event_type="job.completed", data={"job_id": f"job-{number}"})
    deliver_beside()
    sign_in(owner)
    page.goto(f"/o/{organization.uid}/webhooks/endpoints/{made.endpoint.id}/")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("link", name="Replay missed").click()

    page.get_by_role("button", name="Send what was missed").click()
    expect(page.get_by_text("What was missed is being counted.")).to_be_visible()
    beside(replays.go_on)

    expect(page.get_by_text("3 of 3")).to_be_visible()  # the page looks again by itself
    expect(page.get_by_text("Done", exact=True)).to_be_visible()
    deliver_beside()
    assert len(receiver.arrivals) == 3
