"""What must not go into production: `manage.py check --deploy` refuses the parts that only a demo can do with."""

import os
import re
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from standardwebhooks.webhooks import EmptyWebhookSecretError
from svix.webhooks import Webhook

from usage import pipeline_schema

# What stands in for each of these when it is not set, and the way out.
ENVIRONMENT = [
    (
        "countinghouse.E002",
        "SECRET_KEY",
        "Sessions are signed with a key made up on this machine.",
        "Set SECRET_KEY to at least 50 random characters, the same on every machine.",
    ),
    (
        "countinghouse.E003",
        "KEY_PEPPERS",
        "API keys are hashed under a pepper made up on this machine; without its file no key works.",
        'Set KEY_PEPPERS to JSON such as {"1": "64 random hexadecimal digits"} and keep a copy of it elsewhere.',
    ),
    (
        "countinghouse.E018",
        "ENCRYPTION_KEYS",
        "The secrets of webhooks are encrypted with a key made up on this machine; without it none can be read.",
        "Set ENCRYPTION_KEYS to the output of: openssl rand -base64 32 | tr +/ -_ , and keep a copy of it elsewhere.",
    ),
    (
        "countinghouse.E004",
        "DATABASE_URL",
        "The database is the embedded PostgreSQL.",
        "Set DATABASE_URL to a PostgreSQL 16 or newer that is backed up.",
    ),
    (
        "countinghouse.E005",
        "REDIS_URL",
        "The broker is the embedded Redis.",
        "Set REDIS_URL to a Redis of your own.",
    ),
    (
        "countinghouse.E006",
        "EMAIL_URL",
        "Mail goes to a folder on this machine, and nobody receives it.",
        "Set EMAIL_URL, such as smtp+tls://user:password@mail.example.com:587.",
    ),
    (
        "countinghouse.E016",
        "SUPPORT_EMAIL",
        "Letters come from support@example.com, and customers are told to write there.",
        "Set SUPPORT_EMAIL to an address of yours that is read.",
    ),
    (
        "countinghouse.E009",
        "STRIPE_SECRET_KEY",
        "There is no Stripe account: nothing can be sold.",
        "Set STRIPE_SECRET_KEY to a restricted key of yours: rk_live_…, or rk_test_… to try things out.",
    ),
]
# Characters of a secret that nobody guesses.
SHORTEST_SECRET = 32


@register(Tags.security, deploy=True)
def no_demo_parts(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """One error for each part of the demo that is still in place."""
    found = [
        Error(message, hint=hint, id=id)
        for id, name, message, hint in ENVIRONMENT
        if not os.environ.get(name)
    ]
    if settings.DEMO:
        found.append(
            Error(
                "This is the demo, with invented customers whose passwords are in a file.",
                hint="Set DEMO=no and start with an empty database.",
                id="countinghouse.E001",
            )
        )
    if settings.WEBHOOK_ALLOWED_NETWORKS:
        found.append(
            Error(
                f"Webhooks may reach private networks: {', '.join(settings.WEBHOOK_ALLOWED_NETWORKS)}.",
                hint="Unset WEBHOOK_ALLOWED_NETWORKS, or customers can make this machine call your own services.",
                id="countinghouse.E007",
            )
        )
    if not settings.BASE_URL.startswith("https://"):
        found.append(
            Error(
                f"{settings.BASE_URL} is not encrypted: passwords and API keys could be read on their way.",
                hint="Set BASE_URL to the https:// address that customers use.",
                id="countinghouse.E008",
            )
        )
    return found


@register(Tags.security, deploy=True)
def no_short_secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """One error for each kind of secret of which one is too short to withstand guessing."""
    found = []
    if len(settings.SECRET_KEY) < SHORTEST_SECRET:
        found.append(
            Error(
                f"SECRET_KEY has fewer than {SHORTEST_SECRET} characters: sessions could be forged.",
                hint="Set SECRET_KEY to at least 50 random characters.",
                id="countinghouse.E012",
            )
        )
    if any(len(pepper) < SHORTEST_SECRET for pepper in settings.KEY_PEPPERS.values()):
        found.append(
            Error(
                f"A pepper in KEY_PEPPERS has fewer than {SHORTEST_SECRET} characters.",
                hint="Add one of 64 random hexadecimal digits to KEY_PEPPERS, as the last; drop the short one once "
                "the keys made under it are replaced.",
                id="countinghouse.E013",
            )
        )
    return found


@register
def no_half_of_a_svix_server(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """Without its other half, a Svix server would be passed over and the embedded engine deliver."""
    if bool(settings.SVIX_SERVER_URL) == bool(settings.SVIX_AUTH_TOKEN):
        return []
    return [
        Error(
            "Of SVIX_SERVER_URL and SVIX_AUTH_TOKEN only one is set.",
            hint="Set both SVIX_SERVER_URL and SVIX_AUTH_TOKEN, or neither to use the embedded engine.",
            id="countinghouse.E011",
        )
    ]


@register(Tags.security, deploy=True)
def no_silent_svix_server(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Warning]:
    """The embedded engine tells members of endpoints that fail; a server has to be asked to."""
    if not settings.SVIX_SERVER_URL or settings.SVIX_OPERATIONAL_SECRET:
        return []
    return [
        Warning(
            "The Svix server does not tell when an endpoint fails or is turned off: no member hears of it.",
            hint=f"Have it send operational webhooks to {settings.BASE_URL}/webhooks/svix, and set "
            "SVIX_OPERATIONAL_SECRET to the secret that it signs them with.",
            id="countinghouse.W001",
        )
    ]


@register(Tags.security, deploy=True)
def no_unread_metrics(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Warning]:
    """Without a token only this machine may read them, and a proxy on it could open them to all."""
    if settings.METRICS_TOKEN or settings.DEMO:
        return []
    return [
        Warning(
            "Only this machine may read /metrics.",
            hint="Set METRICS_TOKEN to 40 random characters, and have Prometheus send it as a bearer token.",
            id="countinghouse.W002",
        )
    ]


@register
def no_unreadable_operational_secret(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """With such a secret every operational webhook would be refused as forged."""
    if not settings.SVIX_OPERATIONAL_SECRET:
        return []
    try:
        Webhook(settings.SVIX_OPERATIONAL_SECRET)
    except (EmptyWebhookSecretError, ValueError):
        return [
            Error(
                "SVIX_OPERATIONAL_SECRET is no secret of an endpoint.",
                hint="Set SVIX_OPERATIONAL_SECRET to the endpoint's secret at Svix, which begins with whsec_.",
                id="countinghouse.E021",
            )
        ]
    return []


@register
def no_keys_that_never_work(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """A key made under such settings would be refused for ever as malformed, or could not be made."""
    found = []
    if not re.fullmatch(r"[A-Za-z0-9]{1,32}", settings.KEY_BRAND):
        found.append(
            Error(
                f"KEY_BRAND is {settings.KEY_BRAND!r}: keys that begin with it are never well-formed.",
                hint="Set KEY_BRAND to letters and digits, 32 at most.",
                id="countinghouse.E014",
            )
        )
    if not settings.KEY_PEPPERS:
        found.append(
            Error(
                "KEY_PEPPERS is empty: API keys cannot be hashed.",
                hint='Set KEY_PEPPERS to JSON such as {"1": "64 random hexadecimal digits"}.',
                id="countinghouse.E015",
            )
        )
    return found


@register
def no_broken_encryption_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """With none, or one that is no key, nothing could be signed."""
    try:
        keys = [Fernet(key) for key in settings.ENCRYPTION_KEYS]
    except ValueError:
        keys = []
    if keys:
        return []
    return [
        Error(
            "ENCRYPTION_KEYS holds no key, or something that is none.",
            hint="Set ENCRYPTION_KEYS to the output of: openssl rand -base64 32 | tr +/ -_ . A new key goes before "
            "the older ones, with a comma between them.",
            id="countinghouse.E019",
        )
    ]


@register
def no_half_of_a_bucket(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """Without the bucket's name, what says where it is would be passed over and files be kept on this machine."""
    if settings.AWS_STORAGE_BUCKET_NAME or not settings.AWS_S3_ENDPOINT_URL:
        return []
    return [
        Error(
            "AWS_S3_ENDPOINT_URL is set without AWS_STORAGE_BUCKET_NAME.",
            hint="Set AWS_STORAGE_BUCKET_NAME, or unset AWS_S3_ENDPOINT_URL to keep files of exports in a folder.",
            id="countinghouse.E017",
        )
    ]


@register
def no_unreadable_schemas(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """With such a file every page of a draft would fail."""
    try:
        pipeline_schema.load(settings.PIPELINE_SCHEMA)
    except ImproperlyConfigured as error:
        return [
            Error(
                str(error),
                hint="Set PIPELINE_SCHEMA to a file such as config/demo/pipeline_schema.json, or to nothing.",
                id="countinghouse.E020",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def no_simulated_money(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """The simulator's key may also be set on purpose."""
    if not settings.STRIPE_IS_SIMULATED:
        return []
    return [
        Error(
            "STRIPE_SECRET_KEY is the simulator's: customers would pay with no money.",
            hint="Set STRIPE_SECRET_KEY to a restricted key of yours.",
            id="countinghouse.E023",
        )
    ]


@register(Tags.security)
def no_live_money_elsewhere(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """A live key belongs to Stripe, and to nobody else: least of all to the simulator."""
    if not settings.STRIPE_LIVE_MODE or settings.STRIPE_API_BASE == "https://api.stripe.com":
        return []
    return [
        Error(
            f"A live Stripe key would be sent to {settings.STRIPE_API_BASE}.",
            hint="Unset STRIPE_API_BASE, or use a test key.",
            id="countinghouse.E022",
        )
    ]


@register(Tags.security)
def no_live_money_while_debugging(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[Error]:
    """dj-stripe lets a request name its own webhook secret while DEBUG is on."""
    if settings.DEBUG and settings.STRIPE_LIVE_MODE:
        return [
            Error(
                "DEBUG is on together with a live Stripe key: anybody could forge Stripe's webhooks.",
                hint="Turn DEBUG off, or use a test key.",
                id="countinghouse.E010",
            )
        ]
    return []
