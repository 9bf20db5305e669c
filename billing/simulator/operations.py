"""The operations that the simulator has, and the parameters it honours on each."""
# ruff: noqa: E501 - the table has a row a line

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billing.simulator import (
    catalog,
    changes,
    checkout,
    collection,
    customers,
    invoice_items,
    invoice_operations,
    invoices,
    meters,
    payment_methods,
    payments,
    portal,
    preview,
    subscriptions,
    webhook_endpoints,
)
from billing.simulator.simulator import ACCOUNT, Simulator
from billing.simulator.store import Object

Handler = Callable[..., Object]

EVERYWHERE = frozenset({"expand", "limit", "starting_after", "ending_before", "created", "include"})


@dataclass(frozen=True)
class Operation:
    method: str
    path: str  # as the SDK writes it
    handler: Handler
    params: frozenset[str]  # those it honours; others that Stripe has are refused, never ignored

    def ids_in(self, path: str) -> tuple[str, ...] | None:
        match = re.fullmatch(re.sub(r"\{\w+\}", r"([^/]+)", self.path), path)
        return match.groups() if match else None


def _retrieve(kind: str) -> Handler:
    def handler(sim: Simulator, params: dict[str, Any], id: str) -> Object:
        return sim.get(kind, id)

    return handler


def _account(sim: Simulator, params: dict[str, Any], id: str = ACCOUNT) -> Object:
    return {
        "id": ACCOUNT,
        "object": "account",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "US",
        "created": 1_700_000_000,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "simulator@example.com",
        "payouts_enabled": True,
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {"statement_descriptor_prefix": None},
            "dashboard": {"display_name": invoices.BRAND, "timezone": "Etc/UTC"},
            "payments": {"statement_descriptor": "SIMULATED"},
        },
        "type": "standard",
    }


PRICE = "active lookup_key metadata nickname tax_behavior transfer_lookup_key"
CUSTOMER = (
    "address balance description email invoice_settings metadata name phone preferred_locales shipping tax_exempt"
    " business_name individual_name"
)
SUBSCRIPTION = (
    "cancel_at cancel_at_period_end collection_method days_until_due default_payment_method description items metadata"
    " off_session payment_behavior proration_behavior trial_end trial_settings payment_settings automatic_tax"
)
SESSION = (
    "automatic_tax billing_address_collection cancel_url client_reference_id currency customer customer_creation"
    " customer_email customer_update expires_at invoice_creation line_items locale metadata mode payment_intent_data"
    " payment_method_collection payment_method_types setup_intent_data submit_type subscription_data success_url"
    " tax_id_collection ui_mode allow_promotion_codes"
)
INVOICE = "auto_advance collection_method days_until_due default_payment_method description due_date footer metadata"

_TABLE: list[tuple[str, str, Handler, str]] = [
    ("GET", "/v1/account", _account, ""),
    ("GET", "/v1/accounts/{account}", _account, ""),
    # Catalog
    ("POST", "/v1/products", catalog.create_product, "active description id images marketing_features metadata name statement_descriptor type unit_label url"),
    ("GET", "/v1/products", catalog.list_products, "active ids type url"),
    ("GET", "/v1/products/{id}", _retrieve("product"), ""),
    ("POST", "/v1/products/{id}", catalog.update_product, "active default_price description images marketing_features metadata name statement_descriptor unit_label url"),
    ("GET", "/v1/products/{product}/features", catalog.list_features, ""),
    ("POST", "/v1/prices", catalog.create_price, f"{PRICE} billing_scheme currency product product_data recurring unit_amount unit_amount_decimal"),
    ("GET", "/v1/prices", catalog.list_prices, "active currency lookup_keys product recurring type"),
    ("GET", "/v1/prices/{price}", _retrieve("price"), ""),
    ("POST", "/v1/prices/{price}", catalog.update_price, PRICE),
    # Customers
    ("POST", "/v1/customers", customers.create, f"{CUSTOMER} payment_method tax_id_data"),
    ("GET", "/v1/customers", customers.list_all, "email"),
    ("GET", "/v1/customers/{customer}", customers.retrieve, ""),
    ("POST", "/v1/customers/{customer}", customers.update, CUSTOMER),
    ("DELETE", "/v1/customers/{customer}", customers.delete, ""),
    ("GET", "/v1/customers/{customer}/payment_methods", payment_methods.list_of_customer, "type"),
    ("GET", "/v1/customers/{customer}/payment_methods/{payment_method}", payment_methods.retrieve_of_customer, ""),
    ("GET", "/v1/customers/{customer}/tax_ids", customers.list_tax_ids, ""),
    ("POST", "/v1/customers/{customer}/tax_ids", customers.create_tax_id, "type value"),
    ("DELETE", "/v1/customers/{customer}/tax_ids/{id}", customers.delete_tax_id, ""),
    # Cards, payments
    ("POST", "/v1/payment_methods", payment_methods.create, "billing_details card metadata type"),
    ("GET", "/v1/payment_methods", payment_methods.list_all, "customer type"),
    ("GET", "/v1/payment_methods/{payment_method}", _retrieve("payment_method"), ""),
    ("POST", "/v1/payment_methods/{payment_method}", payment_methods.update, "billing_details metadata"),
    ("POST", "/v1/payment_methods/{payment_method}/attach", payment_methods.attach, "customer"),
    ("POST", "/v1/payment_methods/{payment_method}/detach", payment_methods.detach, ""),
    ("GET", "/v1/setup_intents/{intent}", _retrieve("setup_intent"), ""),
    ("POST", "/v1/payment_intents", payments.create, "amount automatic_payment_methods capture_method confirm currency customer description metadata off_session payment_method payment_method_types receipt_email setup_future_usage"),
    ("GET", "/v1/payment_intents", payments.list_intents, "customer"),
    ("GET", "/v1/payment_intents/{intent}", _retrieve("payment_intent"), ""),
    ("POST", "/v1/payment_intents/{intent}/confirm", payments.confirm, "off_session payment_method"),
    ("POST", "/v1/payment_intents/{intent}/cancel", payments.cancel, "cancellation_reason"),
    ("GET", "/v1/charges", payments.list_charges, "customer payment_intent"),
    ("GET", "/v1/charges/{charge}", _retrieve("charge"), ""),
    ("POST", "/v1/refunds", payments.refund, "amount charge metadata payment_intent reason"),
    ("GET", "/v1/refunds", payments.list_refunds, "charge payment_intent"),
    ("GET", "/v1/refunds/{refund}", _retrieve("refund"), ""),
    # Checkout and portal
    ("POST", "/v1/checkout/sessions", checkout.create, SESSION),
    ("GET", "/v1/checkout/sessions", checkout.list_all, "customer payment_intent status subscription"),
    ("GET", "/v1/checkout/sessions/{session}", _retrieve("checkout.session"), ""),
    ("POST", "/v1/checkout/sessions/{session}/expire", checkout.expire, ""),
    ("GET", "/v1/checkout/sessions/{session}/line_items", checkout.list_line_items, ""),
    ("POST", "/v1/billing_portal/configurations", portal.create_configuration, "business_profile default_return_url features metadata name"),
    ("GET", "/v1/billing_portal/configurations", portal.list_configurations, "active is_default"),
    ("GET", "/v1/billing_portal/configurations/{configuration}", _retrieve("billing_portal.configuration"), ""),
    ("POST", "/v1/billing_portal/configurations/{configuration}", portal.update_configuration, "active business_profile default_return_url features metadata name"),
    ("POST", "/v1/billing_portal/sessions", portal.create_session, "configuration customer flow_data locale return_url"),
    # Subscriptions
    ("POST", "/v1/subscriptions", subscriptions.create, f"{SUBSCRIPTION} add_invoice_items billing_cycle_anchor billing_mode currency customer trial_period_days"),
    ("GET", "/v1/subscriptions", subscriptions.list_all, "collection_method customer price status"),
    ("GET", "/v1/subscriptions/{subscription_exposed_id}", _retrieve("subscription"), ""),
    ("POST", "/v1/subscriptions/{subscription_exposed_id}", changes.update, f"{SUBSCRIPTION} billing_cycle_anchor cancellation_details proration_date"),
    ("DELETE", "/v1/subscriptions/{subscription_exposed_id}", subscriptions.cancel, "cancellation_details invoice_now prorate"),
    ("GET", "/v1/subscription_items", subscriptions.list_items, "subscription"),
    ("GET", "/v1/subscription_items/{item}", subscriptions.retrieve_item, ""),
    # Invoices
    ("POST", "/v1/invoices/create_preview", preview.create, "currency customer invoice_items preview_mode subscription subscription_details"),
    ("POST", "/v1/invoices", invoice_operations.create, f"{INVOICE} currency customer pending_invoice_items_behavior subscription"),
    ("GET", "/v1/invoices", invoice_operations.list_all, "collection_method customer status subscription"),
    ("GET", "/v1/invoices/{invoice}", _retrieve("invoice"), ""),
    ("POST", "/v1/invoices/{invoice}", invoice_operations.update, INVOICE),
    ("DELETE", "/v1/invoices/{invoice}", invoice_operations.delete, ""),
    ("GET", "/v1/invoices/{invoice}/lines", invoice_operations.list_lines, ""),
    ("POST", "/v1/invoices/{invoice}/finalize", invoice_operations.finalize_now, "auto_advance"),
    ("POST", "/v1/invoices/{invoice}/pay", invoice_operations.pay, "off_session paid_out_of_band payment_method"),
    ("POST", "/v1/invoices/{invoice}/send", invoice_operations.send, ""),
    ("POST", "/v1/invoices/{invoice}/void", invoice_operations.void, ""),
    ("POST", "/v1/invoices/{invoice}/mark_uncollectible", invoice_operations.mark_uncollectible, ""),
    ("GET", "/v1/invoice_payments", collection.list_payments, "invoice payment status"),
    ("GET", "/v1/invoice_payments/{invoice_payment}", _retrieve("invoice_payment"), ""),
    ("POST", "/v1/invoiceitems", invoice_items.create, "amount currency customer description invoice metadata period price_data pricing quantity subscription unit_amount_decimal"),
    ("GET", "/v1/invoiceitems", invoice_items.list_all, "customer invoice pending"),
    ("GET", "/v1/invoiceitems/{invoiceitem}", _retrieve("invoiceitem"), ""),
    ("POST", "/v1/invoiceitems/{invoiceitem}", invoice_items.update, "amount description metadata"),
    ("DELETE", "/v1/invoiceitems/{invoiceitem}", invoice_items.delete, ""),
    # Meters
    ("POST", "/v1/billing/meters", meters.create, "customer_mapping default_aggregation display_name event_name event_time_window value_settings"),
    ("GET", "/v1/billing/meters", meters.list_all, "status"),
    ("GET", "/v1/billing/meters/{id}", _retrieve("billing.meter"), ""),
    ("POST", "/v1/billing/meters/{id}", meters.update, "display_name"),
    ("POST", "/v1/billing/meters/{id}/deactivate", meters.deactivate, ""),
    ("POST", "/v1/billing/meters/{id}/reactivate", meters.reactivate, ""),
    ("GET", "/v1/billing/meters/{id}/event_summaries", meters.list_summaries, "customer end_time start_time value_grouping_window"),
    ("POST", "/v1/billing/meter_events", meters.record_event, "event_name identifier payload timestamp"),
    # Webhooks and events
    ("POST", "/v1/webhook_endpoints", webhook_endpoints.create, "api_version connect description enabled_events metadata url"),
    ("GET", "/v1/webhook_endpoints", webhook_endpoints.list_all, ""),
    ("GET", "/v1/webhook_endpoints/{webhook_endpoint}", _retrieve("webhook_endpoint"), ""),
    ("POST", "/v1/webhook_endpoints/{webhook_endpoint}", webhook_endpoints.update, "description disabled enabled_events metadata url"),
    ("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}", webhook_endpoints.delete, ""),
    ("GET", "/v1/events", webhook_endpoints.list_events, "type types"),
    ("GET", "/v1/events/{id}", webhook_endpoints.retrieve_event, ""),
    ("POST", "/v2/core/event_destinations", webhook_endpoints.create_destination, "description enabled_events event_payload events_from metadata name snapshot_api_version type webhook_endpoint"),
    ("GET", "/v2/core/event_destinations", webhook_endpoints.list_destinations, ""),
    ("GET", "/v2/core/event_destinations/{id}", _retrieve("v2.core.event_destination"), ""),
    ("DELETE", "/v2/core/event_destinations/{id}", webhook_endpoints.delete_destination, ""),
    ("GET", "/v2/core/events/{id}", _retrieve("v2.core.event"), ""),
]  # fmt: skip

OPERATIONS = [
    Operation(method, path, handler, frozenset(names.split()) | EVERYWHERE)
    for method, path, handler, names in _TABLE
]


def find(method: str, path: str) -> tuple[Operation, tuple[str, ...]] | None:
    """Return the operation for a request, and the ids in its path."""
    for operation in OPERATIONS:
        if operation.method == method and (ids := operation.ids_in(path)) is not None:
            return operation, ids
    return None
