"""What is in the database, to see whether something changed it."""

from typing import Any

from django.apps import apps

OURS = {"accounts", "webhooks", "usage", "billing", "account", "otp_totp"}
# That somebody was there is noted also where they were refused.
NOTED = {"last_active_at", "last_used_at", "last_login", "access_changed_at"}


def records() -> dict[str, Any]:
    return {
        model._meta.label: [
            {name: value for name, value in row.items() if name not in NOTED}
            for row in model._default_manager.order_by("pk").values()
        ]
        for model in apps.get_models()
        if model._meta.app_label in OURS and model._meta.managed
    }
