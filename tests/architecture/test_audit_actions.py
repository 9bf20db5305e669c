"""Each action of the audit trail is recorded by something."""

import re

from django.conf import settings

from accounts.audit import Action

APPS = ("accounts", "webhooks", "usage", "billing", "config")
# Where actions are named without being recorded.
TOLD = ("audit.py", "audit_sentences.py", "receivers.py")
CODE = "\n".join(
    path.read_text()
    for app in APPS
    for path in sorted((settings.BASE_DIR / app).rglob("*.py"))
    if path.name not in TOLD and "migrations" not in path.parts
)
NAMED = set(re.findall(r"\bAction\.([A-Z_]+)", CODE))


def test_something_records_each_action() -> None:
    assert [action for action in Action if action.name not in NAMED] == []
