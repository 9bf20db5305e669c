"""Programs get every error as JSON in one shape; people get a page."""

from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.test import Client

from accounts.models import ApiKey
from usage import throttling


@pytest.fixture
def client(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"}, raise_request_exception=False)


def error(response: Any) -> dict[str, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert {"type", "code", "message"} <= set(body["error"]) <= {"type", "code", "message", "param"}
    described: dict[str, str] = body["error"]
    return described


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/nothing", "/billing-usage/nothing"])
def test_unknown_address_of_the_api(path: str) -> None:
    response = Client().get(path)

    assert response.status_code == 404
    assert error(response)["type"] == "not_found"


@pytest.mark.django_db
def test_unknown_address_of_a_page() -> None:
    response = Client().get("/nothing")

    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_failure_of_ours_says_nothing_of_its_cause(client: Client) -> None:
    with patch("usage.reports.log", side_effect=RuntimeError("the cause")):
        response = client.get("/api/v1/jobs")

    assert response.status_code == 500
    assert error(response)["type"] == "server"
    assert "the cause" not in response.content.decode()


def test_database_that_does_not_answer_is_temporary(client: Client) -> None:
    with patch("usage.reports.log", side_effect=OperationalError):
        response = client.get("/api/v1/jobs")

    assert response.status_code == 503
    assert response["Retry-After"] == "1"
    assert error(response)["code"] == "unavailable"


def test_too_many_requests_say_when_to_come_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "REQUESTS_PER_MINUTE", 1)
    client.get("/api/v1/jobs")

    response = client.get("/api/v1/jobs")

    assert response.status_code == 429
    assert int(response["Retry-After"]) >= 1
    assert error(response)["type"] == "rate_limit"


def test_wrong_method_names_the_right_ones(client: Client) -> None:
    response = client.delete("/api/v1/jobs")

    assert response.status_code == 405
    assert "GET" in response["Allow"]
    assert error(response)["code"] == "method_not_allowed"
