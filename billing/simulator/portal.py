"""The customer portal: its configurations and sessions. Its pages are in `portal_page`."""

from typing import Any

from billing.simulator import lists
from billing.simulator.errors import StripeError, missing
from billing.simulator.periods import DAY
from billing.simulator.requests_in import check_address
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object

OPEN_FOR = DAY

REASONS = [
    "too_expensive",
    "missing_features",
    "switched_service",
    "unused",
    "customer_service",
    "too_complex",
    "low_quality",
    "other",
]


def create_configuration(sim: Simulator, params: dict[str, Any]) -> Object:
    first = not sim.store.select("billing_portal.configuration")
    configuration = sim.blank(
        "billing_portal.configuration",
        active=True,
        business_profile={"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        features=_no_features(),
        is_default=first,
        login_page={"enabled": False, "url": None},
        updated=sim.now,
    )
    _apply(sim, configuration, params)
    return sim.add(configuration, "billing_portal.configuration.created")


def update_configuration(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    configuration = sim.get("billing_portal.configuration", id)
    _apply(sim, configuration, params)
    configuration["updated"] = sim.now
    sim.save(configuration, "billing_portal.configuration.updated")
    return configuration


def list_configurations(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {name: params[name] for name in ("active", "is_default") if name in params}
    return lists.page(
        sim, "billing_portal.configuration", "/v1/billing_portal/configurations", params, **where
    )


def _no_features() -> Object:
    return {
        "customer_update": {"allowed_updates": [], "enabled": False},
        "invoice_history": {"enabled": False},
        "payment_method_update": {"enabled": False, "payment_method_configuration": None},
        "subscription_cancel": {
            "cancellation_reason": {"enabled": False, "feedback_options": None, "options": REASONS},
            "enabled": False,
            "mode": "at_period_end",
            "proration_behavior": "none",
        },
        "subscription_update": {
            "billing_cycle_anchor": None,
            "default_allowed_updates": [],
            "enabled": False,
            "products": None,
            "proration_behavior": "none",
            "schedule_at_period_end": {"conditions": []},
            "trial_update_behavior": "end_trial",
        },
    }


def _apply(sim: Simulator, configuration: Object, params: dict[str, Any]) -> None:
    merge_metadata(configuration, params.get("metadata"))
    if params.get("default_return_url"):
        check_address(params["default_return_url"], "default_return_url")
    for name in ("active", "default_return_url", "name"):
        if name in params:
            configuration[name] = params[name] if params[name] != "" else None
    configuration["business_profile"] |= {k: v or None for k, v in params.get("business_profile", {}).items()}
    for feature, given in params.get("features", {}).items():
        merged = configuration["features"][feature]
        for name, value in given.items():
            if isinstance(value, dict):
                merged[name] |= value
            else:
                merged[name] = value if value != "" else []
        if feature == "subscription_update":
            for offer in merged["products"] or []:
                offer.setdefault("adjustable_quantity", {"enabled": False, "maximum": None, "minimum": 1})
                for price in offer["prices"]:
                    sim.get("price", price, "features[subscription_update][products]")


# Sessions


def create_session(sim: Simulator, params: dict[str, Any]) -> Object:
    if "customer" not in params:
        raise missing("customer")
    sim.get("customer", params["customer"], "customer")
    if "return_url" in params:
        check_address(params["return_url"], "return_url")
    if "configuration" in params:
        configuration = sim.get("billing_portal.configuration", params["configuration"], "configuration")
    else:
        defaults = sim.store.select("billing_portal.configuration", is_default=True)
        if not defaults:
            raise StripeError(
                "No configuration provided and your test mode default configuration has not been created. Provide a"
                " configuration or create your default."
            )
        configuration = defaults[0]
    if not configuration["active"]:
        raise StripeError("The portal configuration is inactive.", param="configuration")
    session = sim.blank(
        "billing_portal.session",
        configuration=configuration["id"],
        customer=params["customer"],
        flow=_flow(sim, params["flow_data"]) if "flow_data" in params else None,
        return_url=params.get("return_url", configuration["default_return_url"]),
        url="",
    )
    session["url"] = f"{sim.base_url}/portal/{session['id']}"
    return sim.add(session, "billing_portal.session.created")


def _flow(sim: Simulator, given: dict[str, Any]) -> Object:
    kinds = ("subscription_cancel", "subscription_update", "subscription_update_confirm")
    for kind in kinds:
        if kind in given:
            sim.get("subscription", given[kind]["subscription"], f"flow_data[{kind}][subscription]")
    ending = given.get("after_completion", {"type": "portal_homepage"})
    if "redirect" in ending:
        check_address(ending["redirect"]["return_url"], "flow_data[after_completion][redirect][return_url]")
    flow: Object = {
        "after_completion": {
            "hosted_confirmation": ending.get("hosted_confirmation"),
            "redirect": ending.get("redirect"),
            "type": ending["type"],
        },
        "type": given["type"],
    } | {kind: given.get(kind) for kind in kinds}
    if flow["subscription_cancel"]:
        flow["subscription_cancel"].setdefault("retention", None)
    if flow["subscription_update_confirm"]:
        flow["subscription_update_confirm"].setdefault("discounts", None)
        for item in flow["subscription_update_confirm"]["items"]:
            item.setdefault("price", None)
            item.setdefault("quantity", None)
    return flow
