"""Webhook endpoints, events, and the v2 destinations of thin events."""

import secrets
from typing import Any

from billing.simulator import lists, meters, webhooks_out
from billing.simulator.errors import StripeError, no_such, unsupported
from billing.simulator.periods import DAY
from billing.simulator.simulator import API_VERSION, Simulator, merge_metadata
from billing.simulator.store import Object

EVENTS_KEPT = 30 * DAY


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    webhooks_out.check_url(params["url"])
    if params.get("api_version", API_VERSION) != API_VERSION:
        raise StripeError(f"The simulator speaks API version {API_VERSION} only.", param="api_version")
    endpoint = sim.blank(
        "webhook_endpoint",
        api_version=params.get("api_version"),
        description=params.get("description") or None,
        enabled_events=params["enabled_events"],
        status="enabled",
        url=params["url"],
        _sim={"secret": _secret()},
    )
    merge_metadata(endpoint, params.get("metadata"))
    sim.add(endpoint)
    return endpoint | {"secret": endpoint["_sim"]["secret"]}  # told once, as Stripe does


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    endpoint = sim.get("webhook_endpoint", id)
    merge_metadata(endpoint, params.get("metadata"))
    if "url" in params:
        webhooks_out.check_url(params["url"])
        endpoint["url"] = params["url"]
    if "enabled_events" in params:
        endpoint["enabled_events"] = params["enabled_events"]
    if "description" in params:
        endpoint["description"] = params["description"] or None
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    sim.save(endpoint)
    return endpoint


def delete(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    sim.get("webhook_endpoint", id)
    sim.store.delete(id)
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    return lists.page(sim, "webhook_endpoint", "/v1/webhook_endpoints", params)


def _secret() -> str:
    return f"whsec_{secrets.token_hex(16)}"


# Events


def retrieve_event(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    event = sim.get("event", id)
    if event["created"] < sim.now - EVENTS_KEPT:
        raise no_such("event", id)
    return event


def list_events(sim: Simulator, params: dict[str, Any]) -> Object:
    where: dict[str, Any] = {}
    if "types" in params:
        where["type"] = params["types"]
    elif "type" in params:
        kind = params["type"]
        where["type"] = kind if "*" not in kind else _matching(sim, kind)
    since = {"gte": sim.now - EVENTS_KEPT}
    created = params.get("created")
    bounds = {"gte": created, "lte": created} if isinstance(created, int) else since | (created or {})
    if bounds.get("gte", 0) < since["gte"]:
        bounds["gte"] = since["gte"]
    return lists.page(sim, "event", "/v1/events", params | {"created": bounds}, **where)


def _matching(sim: Simulator, pattern: str) -> list[str]:
    kinds = sim.store.rows("SELECT DISTINCT json_extract(body, '$.type') FROM objects WHERE kind = 'event'")
    return [kind for (kind,) in kinds if kind.startswith(pattern.rstrip("*"))]


# The v2 API: destinations of thin events


def create_destination(sim: Simulator, params: dict[str, Any]) -> Object:
    if params["type"] != "webhook_endpoint" or params["event_payload"] != "thin":
        raise unsupported("event destinations other than webhook endpoints with thin events")
    url = params["webhook_endpoint"]["url"]
    webhooks_out.check_url(url)
    now = meters.iso(sim.now)
    secret = _secret()
    destination = sim.blank(
        "v2.core.event_destination",
        created=now,
        description=params.get("description", ""),
        enabled_events=params["enabled_events"],
        event_payload="thin",
        events_from=params.get("events_from", ["@self"]),
        metadata=params.get("metadata", {}),
        name=params["name"],
        status="enabled",
        type="webhook_endpoint",
        updated=now,
        webhook_endpoint={"signing_secret": None, "url": url},
        _sim={"secret": secret},
    )
    sim.add(destination)
    include = params.get("include", [])
    shown = {
        "signing_secret": secret if "webhook_endpoint.signing_secret" in include else None,
        "url": url if "webhook_endpoint.url" in include else None,
    }
    return destination | {"webhook_endpoint": shown}


def list_destinations(sim: Simulator, params: dict[str, Any]) -> Object:
    include = params.get("include", [])
    found = sim.store.select("v2.core.event_destination")
    for destination in found:
        if "webhook_endpoint.url" not in include:
            destination["webhook_endpoint"]["url"] = None
    return {"data": found, "next_page_url": None, "previous_page_url": None}


def delete_destination(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    sim.get("v2.core.event_destination", id)
    sim.store.delete(id)
    return {"id": id, "object": "v2.core.event_destination", "deleted": True}
