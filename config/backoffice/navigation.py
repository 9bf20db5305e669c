"""What stands in the admin's sidebar."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse_lazy

from accounts.admin_base import colleague

# Each group's models in order, with their icons. A model named nowhere comes last in its app's group, or in System.
GROUPS: dict[str, dict[str, str]] = {
    "Customers": {
        "accounts.organization": "apartment",
        "accounts.user": "person",
        "accounts.membership": "groups",
        "accounts.invitation": "forward_to_inbox",
        "accounts.apikey": "key",
        "accounts.note": "sticky_note_2",
    },
    "Usage": {
        "usage.entitlement": "verified_user",
        "usage.job": "list_alt",
        "usage.usagerecord": "receipt_long",
        "usage.creditrate": "sell",
        "usage.usagealert": "notifications",
        "usage.triggeredalert": "notifications_active",
        "usage.spendcap": "savings",
        "usage.billingexportfile": "folder_zip",
    },
    "Billing": {
        "billing.billingaccount": "account_balance",
        "billing.entitlementoverride": "handshake",
        "billing.creditgrant": "redeem",
        "billing.creditentry": "menu_book",
        "billing.invoice": "request_quote",
        "billing.topup": "autorenew",
        "billing.meterreport": "speed",
        "billing.meterdrift": "difference",
        "billing.plan": "loyalty",
        "billing.creditpack": "inventory_2",
    },
    "Webhooks": {
        "webhooks.endpoint": "webhook",
        "webhooks.message": "mail",
        "webhooks.attempt": "send",
        "webhooks.outboxmessage": "outbox",
        "webhooks.replay": "replay",
    },
    "System": {
        "accounts.auditentry": "history",
        "account.emailaddress": "alternate_email",
        "otp_totp.totpdevice": "phonelink_lock",
    },
}
GROUP_OF_APP = {"accounts": "Customers", "usage": "Usage", "billing": "Billing", "webhooks": "Webhooks"}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The overview, and the groups with the models that this person may see."""
    models = {
        model["model"]._meta.label_lower: model
        for app in admin.site.get_app_list(request)
        for model in app["models"]
    }
    groups = {title: dict(members) for title, members in GROUPS.items()}
    placed = {label for members in GROUPS.values() for label in members}
    for label in models.keys() - placed:
        groups[GROUP_OF_APP.get(label.partition(".")[0], "System")][label] = "table"
    first = [{"title": "Overview", "icon": "home", "link": reverse_lazy("admin:index")}]
    if "accounts.apikey" in models:
        first.append(
            {
                "title": "Why is it refused?",
                "icon": "contact_support",
                "link": reverse_lazy("admin:why_refused"),
            }
        )
    found: dict[str, list[dict[str, Any]]] = {
        title: [_item(models[label], icon) for label, icon in members.items() if label in models]
        for title, members in groups.items()
    }
    if settings.STRIPE_IS_SIMULATED and found["Billing"]:
        simulator = {
            "title": "Simulator and its clock",
            "icon": "schedule",
            "link": f"{settings.STRIPE_API_BASE}/",
        }
        found["Billing"].append(simulator | {"active": False})  # a page of another server
    if colleague(request).has_perm("accounts.view_system"):
        system = {"title": "System", "icon": "monitor_heart", "link": reverse_lazy("admin:system")}
        found["System"].insert(0, system)
    return [{"items": first}] + [
        {"title": title, "separator": True, "items": items} for title, items in found.items() if items
    ]


def _item(model: dict[str, Any], icon: str) -> dict[str, Any]:
    return {"title": model["name"], "icon": icon, "link": model["admin_url"]}
