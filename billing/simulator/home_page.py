"""The simulator's own page: its clock, and everything it holds."""

import json
from collections.abc import Sequence
from typing import Any

from billing.simulator import clock, control, webhooks_out
from billing.simulator.collection import AFTER_LAST_RETRY
from billing.simulator.errors import StripeError
from billing.simulator.invoice_lines import money
from billing.simulator.markup import Html, Page, button, html, moment, page, redirect, section, table
from billing.simulator.periods import DAY, HOUR, after
from billing.simulator.renewals import next_end
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

SHOWN = 50  # of each kind
MONTH = {"interval": "month", "interval_count": 1}


def show(sim: Simulator, form: dict[str, str]) -> Page:
    with sim.store.lock:
        return page(
            "Simulated Stripe",
            _clock(sim),
            _customers(sim),
            _subscriptions(sim),
            _invoices(sim),
            _endpoints(sim),
            _events(sim),
            _settings(sim),
            wide=True,
        )


def _clock(sim: Simulator) -> Html:
    reading = control.reading(sim)
    renewal = reading["next_renewal"]
    days = round(reading["ahead"] / DAY, 1)
    ahead = html(" It is {} days ahead of real time.", days) if days > 0 else None
    return section(
        "Clock",
        html(
            "<p>It is <strong>{}</strong> here.{} Time only goes forward; what falls due on the way is done.</p>",
            moment(sim.now),
            ahead,
        ),
        button("/advance", "Advance 1 hour", seconds=HOUR),
        button("/advance", "Advance 1 day", seconds=DAY),
        button("/advance", "Advance 1 month", until="month"),
        button("/advance", f"To the next renewal, {moment(renewal)}", until="renewal")
        if renewal
        else Html(""),
    )


def _customers(sim: Simulator) -> Html:
    rows = [
        [
            customer["name"] or "–",
            customer["email"] or "–",
            html("<code>{}</code>", customer["id"]),
            money(customer["balance"], customer["currency"] or "usd"),
            "yes" if customer["delinquent"] else "",
        ]
        for customer in sim.store.select("customer")[:SHOWN]
    ]
    return _listed(
        "Customers",
        ("Name", "E-mail", "Id", "Balance", "Owes"),
        rows,
        "No application has made a customer yet.",
        amounts=(3,),
    )


def _subscriptions(sim: Simulator) -> Html:
    rows = []
    for subscription in sim.store.select("subscription")[:SHOWN]:
        items = subscription["items"]["data"]
        rows.append(
            [
                html("<code>{}</code>", subscription["id"]),
                _who(sim, subscription["customer"]),
                _status(subscription["status"]),
                [
                    html(
                        "{}<br>",
                        item["price"]["nickname"] or item["price"]["lookup_key"] or item["price"]["id"],
                    )
                    for item in items
                ],
                moment(subscription["cancel_at"]) or "–",
                moment(next_end(subscription)) if subscription["ended_at"] is None else "ended",
            ]
        )
    heads = ("Subscription", "Customer", "Status", "Prices", "Ends", "Next renewal")
    return _listed("Subscriptions", heads, rows, "None yet: a Checkout page begins one.")


def _invoices(sim: Simulator) -> Html:
    rows = [
        [
            html('<a href="/invoices/{}">{}</a>', invoice["id"], invoice["number"] or "draft"),
            _who(sim, invoice["customer"]),
            _status(invoice["status"]),
            invoice["billing_reason"],
            moment(invoice["created"]),
            moment(invoice["next_payment_attempt"] or invoice["automatically_finalizes_at"]) or "–",
            money(invoice["total"], invoice["currency"]),
        ]
        for invoice in sim.store.select("invoice")[:SHOWN]
    ]
    heads = ("Invoice", "Customer", "Status", "Reason", "Created", "Next step", "Total")
    return _listed("Invoices", heads, rows, "None yet.", amounts=(6,))


def _endpoints(sim: Simulator) -> Html:
    rows = [
        [html("<code>{}</code>", endpoint["url"]), endpoint["status"], ", ".join(endpoint["enabled_events"])]
        for endpoint in sim.store.select("webhook_endpoint")
    ]
    rows += [
        [
            html("<code>{}</code>", one["webhook_endpoint"]["url"]),
            "thin events",
            ", ".join(one["enabled_events"]),
        ]
        for one in sim.store.select("v2.core.event_destination")
    ]
    return _listed(
        "Webhook endpoints", ("Address", "Status", "Events"), rows, "The application has not made one yet."
    )


def _events(sim: Simulator) -> Html:
    rows = []
    for body, kind in sim.store.rows(
        "SELECT body, kind FROM objects WHERE kind IN ('event', 'v2.core.event') ORDER BY seq DESC LIMIT ?",
        SHOWN,
    ):
        event: Object = json.loads(body)
        deliveries = sim.store.rows(
            "SELECT id, state, attempts, answer FROM deliveries WHERE event = ?", event["id"]
        )
        rows.append(
            [
                event["type"],
                html("<code>{}</code>", event["id"]),
                moment(event["created"]) if kind == "event" else event["created"],
                [_delivery(*delivery) for delivery in deliveries]
                or html('<span class="quiet">nobody listens</span>'),
            ]
        )
    return _listed("Events", ("Type", "Id", "Created", "Deliveries"), rows, "Nothing has happened yet.")


def _delivery(id: int, state: str, attempts: int, answer: str) -> Html:
    tone = {"delivered": "good", "pending": "quiet" if attempts == 0 else "bad"}.get(state, "bad")
    return html(
        '<div><span class="{}">{}</span> after {} {} <span class="quiet">{}</span> {}</div>',
        tone,
        state,
        attempts,
        "try" if attempts == 1 else "tries",
        answer[:120],
        button(f"/deliveries/{id}/resend", "Resend"),
    )


def _settings(sim: Simulator) -> Html:
    settings = control.settings(sim)
    options = [
        html(
            '<option value="{0}"{1}>{0}</option>',
            name,
            Html(" selected") if name == settings["after_last_retry"] else None,
        )
        for name in AFTER_LAST_RETRY
    ]
    return section(
        "Settings",
        html(
            '<form method="post" action="/settings"><label>After the last retry of a payment, the subscription becomes'
            '<select name="after_last_retry">{}</select></label>'
            "<label>Seconds that event summaries of meters lag behind"
            '<input name="meter_lag" type="number" min="0" value="{}"></label><button>Save</button></form>',
            options,
            settings["meter_lag"],
        ),
    )


def _listed(
    title: str,
    heads: tuple[str, ...],
    rows: Sequence[list[Any]],
    empty: str,
    *,
    amounts: tuple[int, ...] = (),
) -> Html:
    return section(
        title, table(heads, rows, amounts=amounts) if rows else html('<p class="quiet">{}</p>', empty)
    )


def _who(sim: Simulator, id: str) -> str:
    customer = sim.store.find(id) or {}
    return str(customer.get("name") or customer.get("email") or id)


def _status(status: str) -> Html:
    tone = {"active": "good", "paid": "good", "trialing": "good", "open": "quiet", "draft": "quiet"}.get(
        status, "bad"
    )
    return html('<span class="{}">{}</span>', tone, status.replace("_", " "))


# What its buttons do


def advance(sim: Simulator, form: dict[str, str]) -> Page:
    until = form.get("until")
    if until == "month":
        to = after(sim.now, MONTH, 1)
    elif until == "renewal":
        to = control.reading(sim)["next_renewal"] or sim.now
    elif form.get("seconds", "").isdecimal():
        to = sim.now + int(form["seconds"])
    else:
        raise StripeError("Say how far to advance.")
    clock.advance(sim, max(to, sim.now))
    return redirect("/")


def change_settings(sim: Simulator, form: dict[str, str]) -> Page:
    if not form.get("meter_lag", "0").isdecimal():
        raise StripeError("The lag must be seconds, not below 0.")
    given = {"after_last_retry": form.get("after_last_retry"), "meter_lag": int(form.get("meter_lag", "0"))}
    control.change_settings(sim, given)
    return redirect("/")


def resend(sim: Simulator, form: dict[str, str], id: str) -> Page:
    webhooks_out.resend(sim.store, int(id))
    sim.on_event()
    return redirect("/")
