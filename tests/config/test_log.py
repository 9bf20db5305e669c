"""What the log says of requests that were refused."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils.log import CallbackFilter


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log as it is configured; tests run without that."""
    filters: Any = settings.LOGGING["filters"]
    refusals = CallbackFilter(filters["refusals"]["callback"])
    logging.getLogger("django.request").addFilter(refusals)
    yield caplog
    logging.getLogger("django.request").removeFilter(refusals)


@pytest.mark.parametrize("path", ["/api/v1/gateway/verify", "/api/v1/gateway/jobs", "/api/v1/jobs"])
def test_bad_keys_do_not_fill_the_log(db: None, logged: pytest.LogCaptureFixture, path: str) -> None:
    response = Client(headers={"Authorization": "Bearer ch_bad"}).post(path)

    assert response.status_code == 401
    assert logged.records == []


def test_other_refusals_are_logged(db: None, logged: pytest.LogCaptureFixture) -> None:
    Client().get("/nowhere")

    assert [record.getMessage() for record in logged.records] == ["Not Found: /nowhere"]
