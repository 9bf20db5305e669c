"""The pages of the customer portal, as far as its configuration allows."""

from collections.abc import Callable
from typing import Any

from billing.simulator import catalog, changes, customers, payment_methods, subscriptions
from billing.simulator.card_form import card_fields, card_given, confirm_page
from billing.simulator.errors import StripeError
from billing.simulator.invoice_lines import money, rate
from billing.simulator.invoices import BRAND
from billing.simulator.markup import (
    Html,
    Page,
    button,
    hidden,
    html,
    moment,
    page,
    problem,
    redirect,
    section,
    table,
    text_field,
)
from billing.simulator.payment_methods import ADDRESS
from billing.simulator.portal import OPEN_FOR
from billing.simulator.renewals import next_end, undone
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

LABELS = {
    "line1": "Address",
    "line2": "Address, second line",
    "postal_code": "Postal code",
    "city": "City",
    "state": "State",
    "country": "Country (two letters)",
}


def _open(sim: Simulator, id: str) -> tuple[Object, Object, Object]:
    """Return an open session, its configuration's features, and its customer."""
    session = sim.get("billing_portal.session", id)
    customer = sim.store.find(session["customer"])
    if (
        customer is None
        or customer.get("deleted")
        or sim.now > session["created"] + OPEN_FOR + int(sim.store.setting("clock_offset", 0))
    ):
        raise StripeError("This session of the portal has expired. Open it again from the site.", status=410)
    return session, sim.get("billing_portal.configuration", session["configuration"])["features"], customer


def show(sim: Simulator, form: dict[str, str], id: str, error: str | None = None) -> Page:
    session, features, customer = _open(sim, id)
    base = f"/portal/{id}"
    parts = [problem(error), _plans(sim, base, features, customer)]
    if features["payment_method_update"]["enabled"]:
        parts.append(_cards(sim, base, customer))
    parts.append(_billing(sim, base, features, customer))
    if features["invoice_history"]["enabled"]:
        parts.append(_history(sim, customer))
    if session["return_url"]:
        parts.append(html('<p><a href="{}">Return to the site</a></p>', session["return_url"]))
    return page(f"Your billing – {BRAND}", *parts, status=402 if error else 200)


def _plans(sim: Simulator, base: str, features: Object, customer: Object) -> Html:
    live = sim.store.select("subscription", customer=customer["id"], status=list(subscriptions.LIVE))
    if not live:
        return section("Current plan", html('<p class="quiet">You have no subscription.</p>'))
    return html("{}", [_plan(sim, base, features, subscription) for subscription in live])


def _plan(sim: Simulator, base: str, features: Object, subscription: Object) -> Html:
    items = subscription["items"]["data"]
    rows = [
        [catalog.product_name(sim, item["price"]), item["quantity"] or "as used", rate(item["price"])]
        for item in items
    ]
    ends = subscription["cancel_at"]
    when = f"Ends on {moment(ends)}." if ends else f"Renews on {moment(next_end(subscription))}."
    parts = [
        html("<p>{} <span class='quiet'>Status: {}</span></p>", when, subscription["status"]),
        table(("", "Quantity", "Price"), rows, amounts=(1, 2)),
    ]
    if features["subscription_update"]["enabled"]:
        parts.append(_offers(sim, base, features["subscription_update"], subscription))
    if features["subscription_cancel"]["enabled"]:
        parts.append(_cancel(base, features["subscription_cancel"], subscription))
    return section("Current plan", *parts)


def _offers(sim: Simulator, base: str, feature: Object, subscription: Object) -> Html:
    items = subscription["items"]["data"]
    if len(items) != 1 or items[0]["quantity"] is None:
        return html(
            '<p class="quiet">This subscription has more than one price: change the plan on the site.</p>'
        )
    parts = []
    for id in (price for offer in feature["products"] or [] for price in offer["prices"]):
        price = sim.store.find(id)
        if price is None or id == items[0]["price"]["id"]:
            continue
        due = undone(sim, lambda id=id: _draft_update(sim, feature, subscription["id"], id))  # type: ignore[misc]
        now = f", {money(due['amount_due'], due['currency'])} now" if due else ""
        text = f"Switch to {catalog.product_name(sim, price)}, {rate(price)}{now}"
        parts.append(button(f"{base}/update", text, subscription=subscription["id"], price=id))
    return html("<p>{}</p>", parts) if parts else Html("")


def _draft_update(sim: Simulator, feature: Object, id: str, price: str) -> Object | None:
    subscription = sim.get("subscription", id)
    return changes.apply(sim, subscription, _update_params(feature, subscription, price))


def _update_params(feature: Object, subscription: Object, price: str) -> dict[str, Any]:
    item = subscription["items"]["data"][0]
    return {
        "items": [{"id": item["id"], "price": price}],
        "proration_behavior": feature["proration_behavior"],
    } | ({"billing_cycle_anchor": "now"} if feature["billing_cycle_anchor"] == "now" else {})


def _cancel(base: str, feature: Object, subscription: Object) -> Html:
    if subscription["cancel_at"]:
        return button(f"{base}/resume", "Do not cancel", subscription=subscription["id"])
    at_once = feature["mode"] == "immediately"
    follows = (
        "It ends at once, and what it gives access to ends with it."
        if at_once
        else "It stays until the end of the period that is paid for, and does not renew."
    )
    reasons = feature["cancellation_reason"]
    options = [
        html('<option value="{}">{}</option>', name, name.replace("_", " ")) for name in reasons["options"]
    ]
    why = html(
        '<label>Why? (optional)<select name="feedback"><option value=""></option>{}</select></label>', options
    )
    return html(
        '<details><summary>Cancel subscription</summary><form class="block" method="post" action="{}/cancel">{}'
        '<p>{}</p>{}<button class="danger">Cancel subscription</button></form></details>',
        base,
        hidden({"subscription": subscription["id"]}),
        follows,
        why if reasons["enabled"] else None,
    )


def _cards(sim: Simulator, base: str, customer: Object) -> Html:
    default = customer["invoice_settings"]["default_payment_method"]
    rows = []
    for method in sim.store.select("payment_method", customer=customer["id"]):
        card, id = method["card"], method["id"]
        rows.append(
            [
                f"{card['brand'].title()} ending in {card['last4']}, expires {card['exp_month']}/{card['exp_year']}",
                "default" if id == default else button(f"{base}/make_default", "Make default", method=id),
                button(f"{base}/remove_card", "Remove", kind="danger", method=id),
            ]
        )
    return section(
        "Payment methods",
        table(("", "", ""), rows) if rows else html('<p class="quiet">There is none yet.</p>'),
        html(
            '<details><summary>Add a card</summary><form class="block" method="post" action="{}/add_card">{}<p><button'
            ' class="main">Add card</button></p></form></details>',
            base,
            card_fields(),
        ),
    )


def _billing(sim: Simulator, base: str, features: Object, customer: Object) -> Html:
    allowed = features["customer_update"]["allowed_updates"] if features["customer_update"]["enabled"] else []
    fields = [
        text_field(name.title(), name, customer[name])
        for name in ("name", "email", "phone")
        if name in allowed
    ]
    if "address" in allowed:
        given = customer["address"] or {}
        fields += [text_field(label, name, given.get(name)) for name, label in LABELS.items()]
    parts = []
    if fields:
        form = '<form class="block" method="post" action="{}/billing">{}<button>Save</button></form>'
        parts.append(html(form, base, fields))
    if "tax_id" in allowed:
        for tax_id in sim.store.select("tax_id", customer=customer["id"]):
            parts.append(
                html(
                    "<p>{} {} {}</p>",
                    tax_id["type"],
                    tax_id["value"],
                    button(f"{base}/remove_tax_id", "Remove", id=tax_id["id"]),
                )
            )
        form = (
            '<form class="block" method="post" action="{}/add_tax_id">{}{}<button>Add tax id</button></form>'
        )
        parts.append(
            html(
                form,
                base,
                text_field("Tax id", "value", required=True),
                text_field("Its type", "type", "eu_vat", required=True),
            )
        )
    if not parts:
        parts.append(html("<p>{} <span class='quiet'>{}</span></p>", customer["name"], customer["email"]))
    return section("Billing information", *parts)


def _history(sim: Simulator, customer: Object) -> Html:
    rows = [
        [
            html('<a href="/invoices/{}">{}</a>', invoice["id"], invoice["number"]),
            moment(invoice["effective_at"]),
            invoice["status"],
            money(invoice["total"], invoice["currency"]),
            html('<a href="/invoices/{}.pdf">PDF</a>', invoice["id"]),
        ]
        for invoice in sim.store.select("invoice", customer=customer["id"])
        if invoice["number"]
    ]
    return section(
        "Invoice history",
        table(("Invoice", "Date", "Status", "Total", ""), rows, amounts=(3,))
        if rows
        else html('<p class="quiet">There is none yet.</p>'),
    )


# What its buttons do


def act(sim: Simulator, form: dict[str, str], id: str, action: str) -> Page:
    """Do what a button says, if the configuration allows it, and show the portal again."""
    if action not in ACTIONS:
        raise StripeError("There is no such page.", status=404)
    feature, do = ACTIONS[action]
    with sim.store.lock:
        session, features, customer = _open(sim, id)
        if not features[feature]["enabled"]:
            raise StripeError("This portal does not allow that.", status=403)
        if action == "add_card" and (asked := _ask_first(id, form)):
            return asked
        try:
            with sim.store.transaction():
                do(sim, features, customer, form)
        except StripeError as error:
            return show(sim, {}, id, str(error))
    flow = session["flow"] or {}
    if flow.get("type", "").startswith(feature) and flow["after_completion"]["type"] == "redirect":
        return redirect(flow["after_completion"]["redirect"]["return_url"])
    return redirect(f"/portal/{id}")


def _ask_first(id: str, form: dict[str, str]) -> Page | None:
    try:
        card = card_given(form)
    except StripeError:
        return None
    if card.saving != "authenticate" or "confirmation" in form:
        return None
    return confirm_page(f"/portal/{id}/add_card", f"{BRAND} asks you to confirm this card.", form)


def _own(sim: Simulator, kind: str, id: str | None, customer: Object) -> Object:
    found = sim.get(kind, id or "")
    if found["customer"] != customer["id"]:
        raise StripeError("That belongs to another customer.", status=404)
    return found


def _do_cancel(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    feature = features["subscription_cancel"]
    subscription = _own(sim, "subscription", form.get("subscription"), customer)
    details = {"cancellation_details": {"feedback": form["feedback"]}} if form.get("feedback") else {}
    if feature["mode"] == "immediately":
        behavior = feature["proration_behavior"]
        ending = {"prorate": behavior != "none", "invoice_now": behavior == "always_invoice"}
        subscriptions.cancel(sim, details | ending, subscription["id"])
    else:
        changes.update(sim, details | {"cancel_at_period_end": True}, subscription["id"])


def _do_resume(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    subscription = _own(sim, "subscription", form.get("subscription"), customer)
    changes.update(sim, {"cancel_at_period_end": False}, subscription["id"])


def _do_update(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    feature = features["subscription_update"]
    subscription = _own(sim, "subscription", form.get("subscription"), customer)
    offered = [price for offer in feature["products"] or [] for price in offer["prices"]]
    if form.get("price") not in offered or len(subscription["items"]["data"]) != 1:
        raise StripeError("That plan is not offered here.")
    params = _update_params(feature, subscription, form["price"])
    changes.update(sim, params | {"payment_behavior": "error_if_incomplete"}, subscription["id"])


def _do_add_card(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    if form.get("confirmation") == "refused":
        raise StripeError("The card was not confirmed, so it was not added.")
    details = {"email": customer["email"], "name": customer["name"]}
    intent = payment_methods.new_setup_intent(sim, customer["id"])
    method = payment_methods.new_card(sim, card_given(form), details)
    confirmed = form.get("confirmation") == "confirmed"
    payment_methods.attach_to(sim, method["id"], customer["id"], authenticated=confirmed)
    payment_methods.complete_setup(sim, intent, method)
    if not customer["invoice_settings"]["default_payment_method"]:
        _make_default(sim, customer, method["id"])


def _do_make_default(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    _make_default(sim, customer, _own(sim, "payment_method", form.get("method"), customer)["id"])


def _make_default(sim: Simulator, customer: Object, method: str) -> None:
    """Make a card the one that all subscriptions are charged to."""
    customers.update(sim, {"invoice_settings": {"default_payment_method": method}}, customer["id"])
    for subscription in sim.store.select(
        "subscription", customer=customer["id"], status=list(subscriptions.LIVE)
    ):
        subscription["default_payment_method"] = method
        sim.save(subscription, "customer.subscription.updated")


def _do_remove_card(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    payment_methods.detach(sim, {}, _own(sim, "payment_method", form.get("method"), customer)["id"])


def _allowed(features: Object, name: str) -> None:
    if name not in features["customer_update"]["allowed_updates"]:
        raise StripeError("This portal does not allow that.", status=403)


def _do_billing(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    allowed = features["customer_update"]["allowed_updates"]
    params: dict[str, Any] = {
        name: form[name] for name in ("name", "email", "phone") if name in form and name in allowed
    }
    if "address" in allowed and set(ADDRESS) & set(form):
        params["address"] = {name: form.get(name, "") for name in ADDRESS}
    customers.update(sim, params, customer["id"])


def _do_add_tax_id(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    _allowed(features, "tax_id")
    if not form.get("value") or not form.get("type"):
        raise StripeError("Give the tax id and its type, such as eu_vat.")
    customers.create_tax_id(sim, {"type": form["type"], "value": form["value"]}, customer["id"])


def _do_remove_tax_id(sim: Simulator, features: Object, customer: Object, form: dict[str, str]) -> None:
    _allowed(features, "tax_id")
    tax_id = _own(sim, "tax_id", form.get("id"), customer)
    customers.delete_tax_id(sim, {}, customer["id"], tax_id["id"])


Do = Callable[[Simulator, Object, Object, dict[str, str]], None]

ACTIONS: dict[str, tuple[str, Do]] = {
    "cancel": ("subscription_cancel", _do_cancel),
    "resume": ("subscription_cancel", _do_resume),
    "update": ("subscription_update", _do_update),
    "add_card": ("payment_method_update", _do_add_card),
    "make_default": ("payment_method_update", _do_make_default),
    "remove_card": ("payment_method_update", _do_remove_card),
    "billing": ("customer_update", _do_billing),
    "add_tax_id": ("customer_update", _do_add_tax_id),
    "remove_tax_id": ("customer_update", _do_remove_tax_id),
}
