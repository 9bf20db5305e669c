"""Browsers of the cast, Stripe as the simulator plays it, and rows of the ledger without any usage behind them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import prepared
from accounts.models import Organization, User
from billing import catalogue
from tests.billing.simulator_process import SimulatorProcess, own_simulator, simulator
from tests.billing.stripe_at_hand import at_stripe, catalogued, own_stripe

__all__ = ["at_stripe", "catalogued", "own_simulator", "own_stripe", "simulator"]

Page = Callable[..., str]


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def by_owner(organization: Organization, owner: User) -> Client:
    return browser(owner)


@pytest.fixture
def by_admin(organization: Organization, admin: User) -> Client:
    return browser(admin)


@pytest.fixture
def page(organization: Organization, by_owner: Client) -> Page:
    """What the owner reads on a page of billing; by another browser, where one is given."""

    def read(path: str = "", *, by: Client | None = None, status: int = 200) -> str:
        response: Any = (by or by_owner).get(f"/o/{organization.uid}/billing/{path}")
        assert response.status_code == status, response.status_code
        text = b"".join(response).decode() if response.streaming else response.content.decode()
        return " ".join(text.split())

    return read


@pytest.fixture
def at_present(own_stripe: SimulatorProcess, db: None, settings: Settings) -> SimulatorProcess:
    """Stripe with our catalogue and the clock of now, so that what is used now is used in its periods."""
    settings.BASE_URL = "https://account.example.com"  # which the simulator does not reach
    catalogue.sync()
    return own_stripe


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The prepared questions, which Django's own count does not see."""
    asked: list[Any] = []
    fetch = prepared.fetch

    def counted(*args: Any) -> Any:
        asked.append(args)
        return fetch(*args)

    monkeypatch.setattr(prepared, "fetch", counted)
    return asked
