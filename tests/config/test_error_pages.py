"""What a browser shows when something does not work."""

import pytest
from django.test import Client, RequestFactory

from accounts.models import Organization, User
from config.api.errors import server_error


def test_an_unknown_address(client: Client, db: None) -> None:
    response = client.get("/nothing/")

    assert response.status_code == 404
    assert b"There is nothing here" in response.content


def test_a_host_that_is_not_ours(client: Client, db: None) -> None:
    response = client.get("/", headers={"Host": "evil.example"})

    assert response.status_code == 400
    assert b"This request was not understood" in response.content


def test_a_form_without_its_token(organization: Organization, owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    response = client.post(f"/o/{organization.uid}/api-keys/create/")

    assert response.status_code == 403
    assert b"This form has expired" in response.content


def test_a_failure_of_ours_needs_neither_database_nor_names(rf: RequestFactory) -> None:
    response = server_error(rf.get("/"))

    assert response.status_code == 500
    assert b"Something went wrong on our side" in response.content


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/password/reset/", "/accounts/signup/"])
def test_pages_call_nobody_else(client: Client, db: None, path: str) -> None:
    page = client.get(path).content.decode()

    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
