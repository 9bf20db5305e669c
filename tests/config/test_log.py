"""What the log says of requests that were refused."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils.log import CallbackFilter

from accounts.models import Organization, User


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log as it is configured; tests run without that."""
    configuration: Any = settings.LOGGING
    logger = logging.getLogger("django.request")
    configured = [
        CallbackFilter(configuration["filters"][name]["callback"])
        for name in configuration["loggers"][logger.name]["filters"]
    ]
    for each in configured:
        logger.addFilter(each)
    yield caplog
    for each in configured:
        logger.removeFilter(each)


@pytest.mark.parametrize("path", ["/api/v1/gateway/verify", "/api/v1/gateway/jobs", "/api/v1/jobs"])
def test_bad_keys_do_not_fill_the_log(db: None, logged: pytest.LogCaptureFixture, path: str) -> None:
    response = Client(headers={"Authorization": "Bearer ch_bad"}).post(path)

    assert response.status_code == 401
    assert logged.records == []


def test_other_refusals_are_logged(db: None, logged: pytest.LogCaptureFixture) -> None:
    Client().get("/nowhere")

    assert [record.getMessage() for record in logged.records] == ["Not Found: /nowhere"]


def test_a_forbidden_page_is_one_line(
    client: Client, logged: pytest.LogCaptureFixture, organization: Organization, member: User
) -> None:
    client.force_login(member)
    address = reverse("webhooks:create_endpoint", args=[organization.uid])

    response = client.get(address)

    assert response.status_code == 403
    [record] = logged.records
    assert record.getMessage() == f"Forbidden (Permission denied): {address}"
    assert record.exc_info is None


def test_what_breaks_is_logged_with_its_traceback(logged: pytest.LogCaptureFixture) -> None:
    error = (ValueError, ValueError("broken"), None)

    logging.getLogger("django.request").error("broken", exc_info=error, extra={"status_code": 500})

    [record] = logged.records
    assert record.exc_info == error
