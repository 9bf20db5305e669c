"""What is to be done at Stripe after a change fails nobody's request where the queue does not answer."""

from typing import Any

import pytest
from celery import Task
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import organizations
from accounts.models import Organization
from billing import inbox, plans, tasks


@pytest.fixture(autouse=True)
def queue_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise ConnectionError("The queue is away.")

    for task in (tasks.end_deleted, tasks.tell_stripe_of_customer, tasks.sync_offer):
        assert isinstance(task, Task)
        monkeypatch.setattr(task, "delay", refuse)
    monkeypatch.setattr(inbox, "apply", refuse)


def test_an_organization_is_renamed(
    organization: Organization, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as done:
        organizations.update(organization=organization, actor=None, changes={"name": "Northwind Ltd"})

    assert done


def test_an_organization_is_deleted(
    organization: Organization, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as done:
        organizations.delete(organization=organization, actor=None)

    assert done


@pytest.mark.django_db
def test_a_plan_is_edited(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True) as done:
        tasks.offer_changed(plans.named(plans.PRO))

    assert done


@pytest.mark.django_db
def test_an_event_is_taken_in(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True) as done:
        inbox.note("cus_1")

    assert done
