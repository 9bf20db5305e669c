"""The audit trail in words: each action as what its actor did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.audit import Action

SENTENCES = {
    Action.USER_CREATED: "created the account {}",
    Action.USER_UPDATED: "changed the account {}",
    Action.USER_EMAIL_CHANGED: "changed the e-mail address of {}",
    Action.USER_PASSWORD_CHANGED: "changed the password of {}",
    Action.USER_PASSWORD_LETTER_SENT: "sent a letter for a new password to {}",
    Action.USER_VERIFICATION_SENT: "sent the letter that verifies an address to {}",
    Action.USER_DELETED: "deleted the account {}",
    Action.USER_DATA_DOWNLOADED: "downloaded the data of {}",
    Action.SESSION_ENDED: "ended sessions of {}",
    Action.TWO_FACTOR_ENABLED: "set up two-factor authentication for {}",
    Action.TWO_FACTOR_DISABLED: "switched two-factor authentication off for {}",
    Action.TWO_FACTOR_RESET: "reset the second factor of {}",
    Action.RECOVERY_CODES_REPLACED: "made new recovery codes for {}",
    Action.RECOVERY_CODE_USED: "spent a recovery code of {}",
    Action.ORGANIZATION_CREATED: "created the organization {}",
    Action.ORGANIZATION_UPDATED: "changed the settings of {}",
    Action.ORGANIZATION_DELETED: "deleted the organization {}",
    Action.ORGANIZATION_RESTORED: "restored the organization {}",
    Action.ORGANIZATION_ERASED: "erased the organization {}",
    Action.OWNERSHIP_OFFERED: "offered to hand over {}",
    Action.OWNERSHIP_OFFER_ENDED: "ended the offer to hand over {}",
    Action.OWNERSHIP_TRANSFERRED: "accepted the handover of {}",
    Action.OWNERSHIP_RECOVERED: "gave a new owner to {}",
    Action.INVITATION_CREATED: "invited {}",
    Action.INVITATION_RESENT: "invited {} again",
    Action.INVITATION_REVOKED: "revoked the invitation of {}",
    Action.INVITATION_ACCEPTED: "accepted the invitation of {}",
    Action.INVITATION_DECLINED: "declined the invitation of {}",
    Action.MEMBER_ADDED: "added the member {}",
    Action.MEMBER_ROLE_CHANGED: "changed the role of {}",
    Action.MEMBER_REMOVED: "removed the member {}",
    Action.MEMBER_LEFT: "ended the membership of {}",
    Action.API_KEY_CREATED: "created the API key {}",
    Action.API_KEY_IMPORTED: "imported the API key {}",
    Action.API_KEY_UPDATED: "changed the API key {}",
    Action.API_KEY_DISABLED: "disabled the API key {}",
    Action.API_KEY_ENABLED: "enabled the API key {}",
    Action.API_KEY_ROTATED: "rotated the API key {}",
    Action.API_KEY_ROTATION_ASKED: "asked for a rotation of the API key {}",
    Action.API_KEY_EXPIRING: "warned of the end of the API key {}",
    Action.API_KEY_REVOKED: "revoked the API key {}",
    Action.API_KEY_LEAKED: "reported a leak of the API key {}",
    Action.LOOK_STARTED: "began to look at these pages as {}",
    Action.LOOK_ENDED: "stopped looking at these pages as {}",
    Action.NOTE_ADDED: "wrote a note: {}",
    Action.NOTE_CHANGED: "changed a note: {}",
    Action.NOTE_REMOVED: "took back a note: {}",
    Action.STAFF_DEVICE_ADDED: "added a device of {}",
    Action.STAFF_DEVICE_REMOVED: "removed a device of {}",
    Action.ADMIN_LIST_EXPORTED: "took along the list of {} as CSV",
    Action.ENDPOINT_CREATED: "created the webhook endpoint {}",
    Action.ENDPOINT_UPDATED: "changed the webhook endpoint {}",
    Action.ENDPOINT_DELETED: "deleted the webhook endpoint {}",
    Action.ENDPOINT_SECRET_REVEALED: "revealed the secret of the webhook endpoint {}",
    Action.ENDPOINT_SECRET_ROTATED: "rotated the secret of the webhook endpoint {}",
    Action.ENDPOINT_PORTAL_OPENED: "opened the Svix portal of {}",
    Action.ENDPOINT_RECOVERED: "had what failed sent again to the webhook endpoint {}",
    Action.ENDPOINT_REPLAYED: "had what was missed sent to the webhook endpoint {}",
    Action.ENDPOINT_RETRIED: "had what waited tried at once at the webhook endpoint {}",
    Action.ENDPOINT_TESTED: "sent a test to the webhook endpoint {}",
    Action.MESSAGE_RESENT: "sent the webhook message {} again",
    Action.MESSAGE_RETRIED: "had the webhook message {} tried again, which waited or was refused",
    Action.MESSAGES_RETRIED: "had refused webhook messages of {} tried again",
    Action.ENTITLEMENT_AGREED: "agreed beside the plan of {}",
    Action.ENTITLEMENT_AGREEMENT_ENDED: "ended what was agreed beside the plan of {}",
    Action.PLAN_CHANGED: "changed the plan of {}",
    Action.SUBSCRIPTION_UPDATED: "updated the subscription of {}",
    Action.SUBSCRIPTION_CHANGE_ASKED: "asked to change the subscription of {}",
    Action.SUBSCRIPTION_KEPT: "kept the subscription of {}",
    Action.SUBSCRIPTION_CANCELLED: "cancelled the subscription of {}",
    Action.BILLING_PORTAL_OPENED: "opened the billing portal of {}",
    Action.SUBSCRIPTION_READ_AGAIN: "had the subscription of {} read at Stripe again",
    Action.GRACE_EXTENDED: "let {} go on calling although a payment is due",
    Action.CREDITS_PURCHASED: "bought credits for {}",
    Action.CREDITS_GRANTED: "gave credits to {}",
    Action.CREDITS_DEDUCTED: "took credits from {}",
    Action.CREDITS_SETTLED: "settled the credits of {}",
    Action.OFFER_CHANGED: "changed what is on offer: {}",
    Action.METER_REPORT_RETRIED: "had the meter report {} sent again",
    Action.AUTO_TOP_UP_SET: "set automatic top-up of {}",
    Action.AUTO_TOP_UP_REMOVED: "removed automatic top-up of {}",
    Action.AUTO_TOP_UP_STOPPED: "stopped automatic top-up of {}",
    Action.CREDIT_RATE_PUBLISHED: "published the credit rate {}",
    Action.CREDIT_RATE_WITHDRAWN: "withdrew the coming credit rate {}",
    Action.BILLING_USAGE_EXPORTED: "exported usage for billing as {}",
    Action.BILLING_USAGE_LINKED: "made a new link to {}",
    Action.PIPELINE_CREATED: "created the pipeline draft {}",
    Action.PIPELINE_UPDATED: "changed the pipeline draft {}",
    Action.PIPELINE_DELETED: "deleted the pipeline draft {}",
    Action.ALERT_CREATED: "created the usage alert {}",
    Action.ALERT_UPDATED: "changed the usage alert {}",
    Action.ALERT_DELETED: "deleted the usage alert {}",
    Action.SPEND_CAP_SET: "set the spend cap of {}",
    Action.SPEND_CAP_REMOVED: "removed the spend cap of {}",
    Action.SWEEP_RUN: "had the periodic task {} run",
    Action.USAGE_RECORD_VOIDED: "took back the usage record {}",
    Action.USAGE_RECORD_AMENDED: "corrected the usage record {}",
    Action.USAGE_EXPORT_CREATED: "asked for the usage export {}",
    Action.USAGE_EXPORT_CANCELLED: "cancelled the usage export {}",
    Action.USAGE_EXPORT_RETRIED: "began the usage export {} anew",
    Action.USAGE_EXPORT_DELETED: "deleted the usage export {}",
}

# What happens in organizations, by the first word of the action; the rest is about people's own accounts.
GROUPS = {
    "api_key": "API keys",
    "member": "Members",
    "invitation": "Invitations",
    "ownership": "Ownership",
    "organization": "Organization",
    "support": "Support",
    "endpoint": "Webhook endpoints",
    "message": "Webhook messages",
    "entitlement": "Entitlement",
    "plan": "Plan",
    "subscription": "Subscription",
    "credits": "Credits",
    "auto_top_up": "Automatic top-up",
    "pipeline": "Pipeline drafts",
    "alert": "Usage alerts",
    "spend_cap": "Spend cap",
    "usage_record": "Usage records",
    "usage_export": "Usage exports",
}


# What an endpoint's change was, if it was nothing else.
_SWITCHED = {True: "disabled the webhook endpoint {}", False: "enabled the webhook endpoint {}"}


def sentence(action: str, target: str, after: Mapping[str, Any]) -> SafeString:
    """What somebody did, to follow their name. An action that is no longer recorded stands for itself."""
    words = SENTENCES[Action(action)] if action in Action.values else action + " {}"
    if action == Action.ENDPOINT_UPDATED and "disabled" in after and after.keys() <= {"disabled", "reason"}:
        words = _SWITCHED[bool(after["disabled"])]
    return format_html(words, format_html("<strong>{}</strong>", target))


def choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """What the trail of an organization can be filtered by, group by group."""
    return [(label, [(f"{group}.*", f"All of {label}"), *_actions(group)]) for group, label in GROUPS.items()]


def _actions(group: str) -> list[tuple[str, str]]:
    found = [action for action in Action if action.startswith(f"{group}.")]
    return [(action.value, f"{GROUPS[group]}: {_plain(action.partition('.')[2])}") for action in found]


@dataclass(frozen=True)
class Change:
    """What a value was, and what it became."""

    name: str
    before: str
    after: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What changed, value by value; empty where there was nothing, and left out where there was nothing at all."""
    names = dict.fromkeys([*before, *after])
    found = [
        Change(_plain(name).capitalize(), _text(before.get(name)), _text(after.get(name))) for name in names
    ]
    return [change for change in found if change.before or change.after]


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_text(item) for item in value)
        case dict():
            return ", ".join(f"{name}: {_text(item)}" for name, item in value.items())
    return str(value)
