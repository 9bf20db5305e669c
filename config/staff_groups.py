"""What each group of the support staff may do in the admin: one table, written to the database after every migration.

Everybody in a group sees all of customers but secrets, which no page shows; a group says what they may do besides.
`Administrator` has every permission of the admin. Groups of the operator's own are left as they are.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Concat

SUPPORT, BILLING_DESK, ENGINEER, ADMINISTRATOR = "Support", "Billing desk", "Engineer", "Administrator"
# Whose tables the admin shows.
APPS = ("accounts", "webhooks", "usage", "billing", "account", "otp_totp")

# Beside seeing. What a customer can undo, or what stops harm and can be undone, is for whoever answers the mail.
MAY: dict[str, frozenset[str]] = {
    SUPPORT: frozenset(
        {
            "accounts.add_note",
            "accounts.change_note",
            "accounts.look_as_member",
            "accounts.change_invitation",
            "accounts.resend_verification_user",
            "accounts.sign_out_user",
            "accounts.disable_apikey",
            "webhooks.resend_outboxmessage",
        }
    ),
    BILLING_DESK: frozenset(
        {
            "accounts.add_note",
            "accounts.change_note",
            "billing.change_billingaccount",
            "billing.add_entitlementoverride",
            "billing.change_entitlementoverride",
            "billing.change_plan",
            "billing.change_creditpack",
            "billing.change_meterreport",
            "usage.change_usagerecord",
            "usage.add_spendcap",
            "usage.change_spendcap",
            "usage.delete_spendcap",
        }
    ),
    ENGINEER: frozenset(
        {
            "accounts.add_note",
            "accounts.change_note",
            "accounts.add_apikey",
            "accounts.change_apikey",
            "accounts.disable_apikey",
            "accounts.revoke_apikey",
            "accounts.rotate_apikey",
            "accounts.view_system",
            "accounts.run_sweep",
            "usage.add_creditrate",
            "usage.change_creditrate",
            "webhooks.add_endpoint",
            "webhooks.change_endpoint",
            "webhooks.delete_endpoint",
            "webhooks.replay_endpoint",
            "webhooks.resend_outboxmessage",
            "webhooks.retry_outboxmessage",
        }
    ),
}


def write(**kwargs: Any) -> None:
    """Make the groups, and give each exactly what the table says. Permissions themselves are made after migrations."""
    for app in apps.get_app_configs():
        create_permissions(app, verbosity=0)
    shown = Permission.objects.filter(content_type__app_label__in=APPS)
    seeing = set(shown.filter(codename=Concat(Value("view_"), F("content_type__model"))))
    for name, labels in MAY.items():
        _group(name).permissions.set(seeing | set(_named(shown, labels)))
    _group(ADMINISTRATOR).permissions.set(shown)


def _group(name: str) -> Group:
    return Group.objects.get_or_create(name=name)[0]


def _named(permissions: QuerySet[Permission], labels: frozenset[str]) -> list[Permission]:
    """The permissions of these names. Raises LookupError for a name that there is not."""
    by_label = {
        f"{each.content_type.app_label}.{each.codename}": each
        for each in permissions.select_related("content_type")
    }
    return [by_label[label] for label in labels]
