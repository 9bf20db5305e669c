"""Building the demo. A second build changes nothing, and one that was broken off is completed.

What only the maker of a password or key knows is remembered in `demo-secrets.json`, written just before the people
and keys are committed; the end of the history and whether all is done stand beside it.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from svix.api import EndpointListOptions
from svix.exceptions import HttpError
from svix.models import EndpointOut, EndpointPatch

from accounts.models import ApiKey, Organization, User
from config.demo import cast, history, payments, prices
from config.embedded import write_private
from usage import ingest, totals
from webhooks import endpoints
from webhooks.gateway import get_svix


class LostSecrets(Exception):
    """The database holds the demo's people, but their passwords and keys are nowhere."""


def receiver_url() -> str:
    """Where the demo's receiver listens."""
    return f"http://127.0.0.1:{settings.RECEIVER_PORT}"


def build(*, days: int = history.DAYS, on_day: Callable[[], object]) -> dict[str, Any]:
    """Make what is missing of the demo. Returns the part of `demo.json` that does not depend on addresses.

    `on_day` is called `days` times while the history is made. Raises LostSecrets.
    """
    path = settings.VAR_DIR / "demo-secrets.json"
    state = _remembered(path) or _create_cast(path)
    customers = _organizations(state["demo"])
    if not state["done"]:
        prices.publish()
        until = datetime.fromisoformat(state["until"])
        _make_history(customers, until, days, on_day)
        payments.read_invoices()
        with transaction.atomic():
            for customer, organization in customers:
                if customer.credits is not None:
                    payments.leave(organization, customer.credits, now=until)
                cast.watch_usage(organization, customer)
        totals.recount()
        state["done"] = True
        _remember(path, state)
    # Only now, so that the history notifies nobody; and each time, for the receiver's port may be another one.
    for customer, organization in customers:
        if customer.has_endpoint:
            _point_endpoint(organization, state["endpoints"])
            _remember(path, state)
    demo: dict[str, Any] = state["demo"]
    return demo


def _remembered(path: Path) -> dict[str, Any] | None:
    """What an earlier build wrote, unless it was undone or belongs to another database."""
    if not path.exists():
        return None
    state: dict[str, Any] = json.loads(path.read_text())
    return state if ApiKey.objects.with_secret(state["demo"]["gateway_key"]).exists() else None


def _create_cast(path: Path) -> dict[str, Any]:
    if User.objects.filter(email=cast.STAFF[1]).exists():
        raise LostSecrets(
            f"The demo is in the database, but its passwords and keys are not in {path}. Start with an empty "
            "database (without DATABASE_URL: another VAR_DIR), or with DEMO=no."
        )
    now = datetime.now(UTC)
    with transaction.atomic():
        state = {"done": False, "until": now.isoformat(), "endpoints": {}, "demo": cast.create(now=now)}
        _remember(path, state)
    return state


def _remember(path: Path, state: dict[str, Any]) -> None:
    write_private(path, json.dumps(state, indent=2))


def _organizations(demo: dict[str, Any]) -> list[tuple[cast.Customer, Organization]]:
    """The customers and their organizations, whatever these are called by now; one that was deleted is left out."""
    uids = {made["name"]: made["id"] for made in demo["organizations"]}
    found = {
        organization.uid: organization for organization in Organization.objects.filter(uid__in=uids.values())
    }
    return [
        (customer, found[uids[customer.name]])
        for customer in cast.CUSTOMERS
        if uids.get(customer.name) in found
    ]


def _make_history(
    customers: list[tuple[cast.Customer, Organization]],
    until: datetime,
    days: int,
    on_day: Callable[[], object],
) -> None:
    """Take the past in day by day, as the gateway API would."""
    api_keys = {
        customer.name: dict(organization.api_keys.organization_keys().values_list("name", "uid"))
        for customer, organization in customers
    }
    for days_ago in reversed(range(days)):
        midnight = datetime.combine((until - timedelta(days=days_ago)).date(), time(), UTC)
        payments.pass_time(midnight)
        for customer, organization in customers:
            _pay(customer, organization, days_ago, now=midnight)
        reports = [
            report
            for customer, _ in customers
            for report in history.of_day(
                customer, api_keys[customer.name], until=until, days_ago=days_ago, days=days
            )
        ]
        outcome = ingest.ingest(reports, now=until)
        assert not outcome.rejected, outcome.rejected[0]
        on_day()
    payments.pass_time(until)


def _pay(customer: cast.Customer, organization: Organization, days_ago: int, *, now: datetime) -> None:
    """Do at the beginning of a day what a customer does to be allowed to call."""
    if customer.credits is not None:
        payments.buy_as_needed(organization, now=now)
    elif customer.since is not None and days_ago <= customer.since:
        payments.subscribe(organization, customer.plan, now=now)
    else:
        payments.try_out(organization, now=now)


def _point_endpoint(organization: Organization, known: dict[str, dict[str, str]]) -> None:
    """Have an organization hear of its jobs at the demo's receiver. An endpoint that somebody deleted stays deleted."""
    url = f"{receiver_url()}/hooks/{organization.uid}"
    if organization.uid not in known:
        endpoint = _forgotten_endpoint(organization)
        if endpoint is None:
            endpoint = endpoints.create(
                organization=organization, url=url, description="The demo's receiver", actor=None
            ).endpoint
        known[organization.uid] = {"id": endpoint.id, "url": endpoint.url}
    if known[organization.uid]["url"] == url:
        return
    try:
        endpoints.update(
            organization=organization,
            endpoint_id=known[organization.uid]["id"],
            changes=EndpointPatch(url=url),
            actor=None,
        )
    except HttpError as error:
        if error.status_code != 404:
            raise
    known[organization.uid]["url"] = url


def _forgotten_endpoint(organization: Organization) -> EndpointOut | None:
    """The endpoint that a build made, if that was killed before it could remember it."""
    try:
        made = get_svix().endpoint.list(organization.uid, EndpointListOptions(limit=250)).data
    except HttpError as error:
        if error.status_code != 404:
            raise
        return None
    path = f"/hooks/{organization.uid}"
    return next((endpoint for endpoint in made if urlsplit(endpoint.url).path == path), None)
