"""Every setting of the project. What differs between machines comes from the environment.

Without an environment the embedded services are used: their addresses are read from `var/services.json`, which
`manage.py run` writes, and secrets are made once and kept in `var/secrets.json`.
"""

import base64
import contextlib
import hashlib
import json
import os
import secrets
from logging import LogRecord
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from celery.schedules import crontab
from django.conf import global_settings
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from config.embedded import require_own, way_out, write_private

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()
LAST_PORT = 65_535


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {}


def _generated_secrets() -> dict[str, Any]:
    """Read the secrets of this installation, making them first if there are none.

    Several processes may start at once: the first to link its file wins, the others read that one.
    """
    path = VAR_DIR / "secrets.json"
    if not path.exists():
        require_own(VAR_DIR)
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        draft = VAR_DIR / f"secrets.{os.getpid()}.json"
        write_private(
            draft,
            json.dumps(
                {"secret_key": secrets.token_urlsafe(50), "key_peppers": {"1": secrets.token_hex(32)}}
            ),
        )
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    made = _read_json(path)
    key = hashlib.sha256(f"encryption {made['secret_key']}".encode()).digest()
    return {"encryption_keys": [base64.urlsafe_b64encode(key).decode()]} | made


def _port(name: str, default: int) -> int:
    value = env.str(name, default=str(default))
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= LAST_PORT):
        raise ImproperlyConfigured(f"{name} is {value!r}; a port is a number from 1 to {LAST_PORT}")
    return int(value)


try:
    _services = _read_json(VAR_DIR / "services.json")
    _secrets = (
        {} if {"SECRET_KEY", "KEY_PEPPERS", "ENCRYPTION_KEYS"} <= os.environ.keys() else _generated_secrets()
    )
except PermissionError as error:
    raise ImproperlyConfigured(way_out(VAR_DIR)) from error

# ── Where it runs ────────────────────────────────────────────────────────────────────────────────────────────
DEBUG = False
# The demo: invented organizations, a data plane and a webhook receiver on this machine. Refused by check --deploy.
DEMO = env.bool("DEMO", default=True)
PORT = _port("PORT", 8000)
# Where the demo's receiver of webhooks listens: beside the web server.
RECEIVER_PORT = _port("RECEIVER_PORT", PORT + 1 if PORT < LAST_PORT else PORT - 1)
BASE_URL = env.str("BASE_URL", default=f"http://127.0.0.1:{PORT}")
SECRET_KEY = env.str("SECRET_KEY", default=_secrets.get("secret_key", ""))
_host = urlsplit(BASE_URL).hostname or "127.0.0.1"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=list({_host, "127.0.0.1", "localhost"}))
CSRF_TRUSTED_ORIGINS = [BASE_URL]
_https = BASE_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _https
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
# Whether all of a domain is https, and listed in browsers as such, is for the owner of the domain to say.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Whoever asks for these stands beside the server and speaks http to it.
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]
# One proxy before us, which ends TLS: it sets X-Forwarded-Proto and adds the client's address to X-Forwarded-For.
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if BEHIND_PROXY else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# ── What makes it the operator's ─────────────────────────────────────────────────────────────────────────────
BRAND = env.str("BRAND", default="Countinghouse")
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="support@example.com")
SALES_EMAIL = env.str("SALES_EMAIL", default="sales@example.com")
# Where a draft of a pipeline is opened: customers are sent there with `?draft=<token>`, see the README.
STUDIO_URL = env.str("STUDIO_URL", default="")
# The API that customers call; a job of type Parse is a POST to API_URL/parse. Shown in examples.
API_URL = env.str("API_URL", default="https://api.example.com")
# A JSON file with a JSON Schema of the configuration of each type of job, see `usage/pipeline_schema.py`.
PIPELINE_SCHEMA = env.str(
    "PIPELINE_SCHEMA", default=str(BASE_DIR / "config" / "demo" / "pipeline_schema.json") if DEMO else ""
)

# ── API keys ─────────────────────────────────────────────────────────────────────────────────────────────────
# First word of every key; letters and digits. Keys made under another brand stop matching, so set it once.
KEY_BRAND = env.str("KEY_BRAND", default="ch")
# {"id": "secret"}; the last one hashes new keys, the others go on verifying the keys made under them.
KEY_PEPPERS: dict[str, str] = env.json("KEY_PEPPERS", default=_secrets.get("key_peppers", {}))

# ── Webhooks' secrets ────────────────────────────────────────────────────────────────────────────────────────
# Fernet keys. The first encrypts what receivers verify our signatures with; the others still read what they wrote.
ENCRYPTION_KEYS: list[str] = env.list("ENCRYPTION_KEYS", default=_secrets.get("encryption_keys", []))

# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────
# How old a reported timestamp may be, in days: the window in which an idempotency key is remembered.
USAGE_ACCEPT_DAYS = env.int("USAGE_ACCEPT_DAYS", default=1830)
# Whether usage is also queued for the air-gapped billing export, by which it is handed over as files.
STORE_USAGE_FOR_BILLING = env.bool("STORE_USAGE_FOR_BILLING", default=DEMO)

# ── Files of exports ─────────────────────────────────────────────────────────────────────────────────────────
# A bucket of S3, or of a server that speaks as S3 does; otherwise a folder of this machine. The credentials are
# found as Amazon's own tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role.
AWS_STORAGE_BUCKET_NAME = env.str("AWS_STORAGE_BUCKET_NAME", default="")
AWS_S3_ENDPOINT_URL = env.str("AWS_S3_ENDPOINT_URL", default="") or None
AWS_S3_REGION_NAME = env.str("AWS_S3_REGION_NAME", default="") or None
AWS_S3_ADDRESSING_STYLE = env.str("AWS_S3_ADDRESSING_STYLE", default="") or None
AWS_LOCATION = env.str("AWS_LOCATION", default="")
STORAGES = {
    **global_settings.STORAGES,
    "exports": {"BACKEND": "usage.bucket.Bucket"}
    if AWS_STORAGE_BUCKET_NAME
    else {
        "BACKEND": "usage.files.Folder",
        "OPTIONS": {"location": VAR_DIR / "files"},
    },
}

# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────
SVIX_SERVER_URL = env.str("SVIX_SERVER_URL", default="")
SVIX_AUTH_TOKEN = env.str("SVIX_AUTH_TOKEN", default="")
# What the server signs its operational webhooks with, by which members hear of endpoints that fail.
SVIX_OPERATIONAL_SECRET = env.str("SVIX_OPERATIONAL_SECRET", default="")
# Networks that webhooks may reach although they are not public. Only the demo's receiver needs one.
WEBHOOK_ALLOWED_NETWORKS = env.list(
    "WEBHOOK_ALLOWED_NETWORKS", default=["127.0.0.0/8", "::1/128"] if DEMO else []
)
# Days after which messages are deleted with all tries to deliver them, where the embedded engine keeps them.
WEBHOOK_RETENTION_DAYS = env.int("WEBHOOK_RETENTION_DAYS", default=90)

# ── Stripe ───────────────────────────────────────────────────────────────────────────────────────────────────
# Without a key of Stripe's the demo bills through a simulator on this machine; elsewhere nothing can be paid for.
STRIPE_SIMULATOR_KEY = "sk_test_countinghousesimulatednomoney"
STRIPE_SIMULATOR_PORT = _port("STRIPE_SIMULATOR_PORT", PORT + 2 if PORT < LAST_PORT - 1 else PORT - 2)
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default=STRIPE_SIMULATOR_KEY)
STRIPE_IS_SIMULATED = STRIPE_SECRET_KEY == STRIPE_SIMULATOR_KEY
STRIPE_API_BASE = env.str(
    "STRIPE_API_BASE",
    default=f"http://127.0.0.1:{STRIPE_SIMULATOR_PORT}" if STRIPE_IS_SIMULATED else "https://api.stripe.com",
)
STRIPE_LIVE_MODE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
STRIPE_API_VERSION = "2026-08-26.dahlia"
if STRIPE_LIVE_MODE:
    STRIPE_LIVE_SECRET_KEY = STRIPE_SECRET_KEY
else:
    STRIPE_TEST_SECRET_KEY = STRIPE_SECRET_KEY
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_SUBSCRIBER_MODEL = "accounts.Organization"
DJSTRIPE_SUBSCRIBER_CUSTOMER_KEY = "organization_id"

# ── Django ───────────────────────────────────────────────────────────────────────────────────────────────────
INSTALLED_APPS = [
    "config",
    "accounts",
    "webhooks",
    "usage",
    "billing",
    # Plain "unfold" would put its own site in place of ours, and the OTP check would be gone with it.
    "unfold.apps.BasicAppConfig",
    "config.backoffice.apps.BackOfficeConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "allauth",
    "allauth.account",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.openid_connect",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "djstripe",
]
MIDDLEWARE = [
    "config.logs.log_requests",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.sessions.note_use",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.access.leave_looks_in_no_cache",
    "config.metrics.CountByView",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
            ],
        },
    },
]
_database = env.db_url_config(
    env.str("DATABASE_URL", default=_services.get("database_url", "postgres://127.0.0.1/countinghouse"))
)
_database |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
# An unreachable host is said within seconds, also by /readyz. Without a threshold Django lets nothing be prepared, not
# even by `accounts.prepared`, and PostgreSQL plans verify's query for six times as long as it runs it.
_database["OPTIONS"] = {"connect_timeout": 5, "prepare_threshold": 5} | _database.get("OPTIONS", {})
DATABASES = {"default": _database}
# Counts of failed sign-ins, shared by all processes. In the database, so that signing in needs nothing else.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "django_cache",
        # Beyond it counts that still matter are thrown away: whoever tries many addresses must not get there.
        "OPTIONS": {"MAX_ENTRIES": 200_000},
    },
}
REDIS_URL = env.str("REDIS_URL", default=_services.get("redis_url", "redis://127.0.0.1:6379/0"))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "config.formats"

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Files are served as they are found, so there is no collecting step between an upgrade and the next start.
WHITENOISE_USE_FINDERS = True

EMAIL_TIMEOUT = 15  # seconds in which a mail server must answer
EMAIL_URL = env.str("EMAIL_URL", default="")
if EMAIL_URL:
    vars().update(env.email_url_config(EMAIL_URL))
else:
    EMAIL_BACKEND = "config.mailbox.EmailBackend"
    EMAIL_FILE_PATH = VAR_DIR / "mail"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"{BRAND} <{SUPPORT_EMAIL}>")

# ── Signing in ───────────────────────────────────────────────────────────────────────────────────────────────
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "account_login"
# Whether visitors may sign up by themselves; where not, an invitation still lets them.
SIGN_UP_OPEN = env.bool("SIGN_UP_OPEN", default=True)
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_FORMS = {
    "signup": "accounts.sign_up.SignUpForm",
    "change_password": "accounts.password_forms.ChangePasswordForm",
    "set_password": "accounts.password_forms.SetPasswordForm",
    "reset_password_from_key": "accounts.password_forms.ResetPasswordKeyForm",
}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# In the browser that signed up; elsewhere the link of a letter only confirms.
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_GET = False
# Beside these, allauth's own: signing in 30 a minute an address, failing 10, and 5 in 5 minutes for one account.
ACCOUNT_RATE_LIMITS = {
    "signup": "10/m/ip,100/h/ip",
    "confirm_email": "1/m/key",
    "reset_password": "20/m/ip,10/h/key",
    "manage_email": "10/h/user",
    "two_factor": "30/m/ip",
}
# Accounts elsewhere to sign in with: allauth's SOCIALACCOUNT_PROVIDERS, for github, google and openid_connect.
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = env.json("SOCIAL_SIGN_IN", default={})
SOCIALACCOUNT_ADAPTER = "accounts.social.SocialAccountAdapter"
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
OTP_TOTP_ISSUER = BRAND

# ── Admin ────────────────────────────────────────────────────────────────────────────────────────────────────
UNFOLD = {
    "SITE_TITLE": f"{BRAND} back office",
    "SITE_HEADER": BRAND,
    "SITE_SUBHEADER": "Back office",
    "SITE_SYMBOL": "account_balance",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"{STATIC_URL}favicon.svg"}],
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "7px",
    # The green of the customers' pages. Buttons are 600 under white; links in the dark are 500.
    "COLORS": {
        "primary": {
            "50": "#eff8f4",
            "100": "#e2f1eb",
            "200": "#bfe3d4",
            "300": "#8fd3b9",
            "400": "#6cd6b5",
            "500": "#4cc7a2",
            "600": "#0b6a55",
            "700": "#085443",
            "800": "#084437",
            "900": "#07372d",
            "950": "#04211a",
        },
    },
    "SIDEBAR": {"navigation": "config.backoffice.navigation.sidebar"},
    "SCRIPTS": [lambda request: static("shared.js")],
}

# ── REST ─────────────────────────────────────────────────────────────────────────────────────────────────────
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.access.HasPermission"],
    "DEFAULT_THROTTLE_CLASSES": ["usage.throttling.ApiThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.api.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    # `format` is a parameter of ours like any other, and refused by name where it is wrong.
    "URL_FORMAT_OVERRIDE": None,
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
    "COERCE_DECIMAL_TO_STRING": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": f"{BRAND} API",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Without an address, the page would have a service on the internet check the description.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
    "POSTPROCESSING_HOOKS": ["config.api.schema.add_gateway", "config.api.schema.add_errors"],
}

# ── Background work ──────────────────────────────────────────────────────────────────────────────────────────
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_ACKS_LATE = True
CELERY_BEAT_SCHEDULE = {
    "remind-of-two-factor": {
        "task": "accounts.tasks.remind_of_two_factor",
        "schedule": crontab(hour="8", minute="0"),
    },
    "mail-notifications": {
        "task": "accounts.tasks.mail_notifications",
        "schedule": 30,
        # A mail server that hangs must not fill the queue with sweeps.
        "options": {"expires": 30},
    },
    "prune-notifications": {
        "task": "accounts.tasks.prune_notifications",
        "schedule": crontab(hour="4", minute="20"),
    },
    "clear-ended-sessions": {
        "task": "accounts.tasks.clear_ended_sessions",
        "schedule": crontab(hour="4", minute="10"),
    },
    "settle-time-zones": {
        "task": "accounts.tasks.settle_time_zones",
        "schedule": crontab(minute="5"),
    },
    "erase-organizations": {
        "task": "config.tasks.erase_organizations",
        "schedule": crontab(minute="25"),
    },
    "save-last-used": {
        "task": "accounts.tasks.save_last_used",
        "schedule": 30,
        "options": {"expires": 30},
    },
    "warn-of-expiring-keys": {
        "task": "accounts.tasks.warn_of_expiring_keys",
        "schedule": crontab(minute="15"),
    },
    "disable-unrotated-keys": {
        "task": "accounts.tasks.disable_unrotated_keys",
        "schedule": 300,
        "options": {"expires": 300},
    },
    "settle-budgets": {
        "task": "usage.tasks.settle_budgets",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "evaluate-alerts": {
        "task": "usage.tasks.evaluate_alerts",
        "schedule": 20,
        "options": {"expires": 20},
    },
    "sweep-alerts": {
        "task": "usage.tasks.sweep_alerts",
        "schedule": crontab(minute="50"),
    },
    "fold-margins": {
        "task": "usage.tasks.fold_margins",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "count-totals": {
        "task": "usage.tasks.count_totals",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "recount-totals": {
        "task": "usage.tasks.recount_totals",
        "schedule": crontab(minute="45"),
        "options": {"expires": 3600},
    },
    # At once when one is asked for; this takes up what the queue or a worker lost.
    "make-exports": {
        "task": "usage.tasks.make_exports",
        "schedule": 30,
        "options": {"expires": 30},
    },
    "sweep-exports": {
        "task": "usage.tasks.sweep_exports",
        "schedule": crontab(minute="35"),
    },
    "attach-partitions": {
        "task": "usage.tasks.attach_partitions",
        "schedule": crontab(hour="3", minute="10"),
    },
    # `usage.retention.EVERY`, of which a page tells.
    "erase-details": {
        "task": "usage.tasks.erase_details",
        "schedule": crontab(minute="*/10"),
        "options": {"expires": 600},
    },
    # After an hour's end and what `webhooks.embedded.attempt_counts` waits for.
    "fold-attempts": {
        "task": "webhooks.tasks.fold_attempts",
        "schedule": crontab(minute="12"),
    },
    # At once when one is asked for; this takes up what the queue or a worker lost.
    "go-on-with-replays": {
        "task": "webhooks.tasks.go_on_with_replays",
        "schedule": 30,
        "options": {"expires": 30},
    },
    # At once after an event and when somebody asks; this takes up what failed or was lost.
    "catch-up-with-stripe": {
        "task": "billing.tasks.catch_up_with_stripe",
        "schedule": 30,
        "options": {"expires": 30},
    },
    "prune-stripe-events": {
        "task": "billing.tasks.prune_stripe_events",
        "schedule": crontab(hour="4", minute="40"),
    },
    "settle-changed": {
        "task": "billing.tasks.settle_changed",
        "schedule": 300,
        "options": {"expires": 300},
    },
    "settle-all": {
        "task": "billing.tasks.settle_all",
        "schedule": crontab(hour="2", minute="10"),
    },
    "expire-and-renew-credits": {
        "task": "billing.tasks.expire_and_renew",
        "schedule": 300,
        "options": {"expires": 300},
    },
    "recompute-access": {
        "task": "billing.tasks.recompute_access",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "send-meter-reports": {
        "task": "billing.tasks.send_meter_reports",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "bill-late-usage": {
        "task": "billing.tasks.bill_late_usage",
        "schedule": crontab(minute="*/10"),
        "options": {"expires": 600},
    },
    "reconcile-meter": {
        "task": "billing.tasks.reconcile_meter",
        "schedule": crontab(minute="20"),
        "options": {"expires": 3600},
    },
    "top-up": {
        "task": "billing.tasks.top_up",
        "schedule": 20,
        "options": {"expires": 20},
    },
    "tell-of-credits": {
        "task": "billing.tasks.tell_of_credits",
        "schedule": 20,
        "options": {"expires": 20},
    },
    "sweep-billing-notices": {
        "task": "billing.tasks.sweep_notices",
        "schedule": crontab(minute="55"),
        "options": {"expires": 3600},
    },
    "sweep-stripe": {
        "task": "billing.tasks.sweep_stripe",
        "schedule": crontab(hour="2", minute="40"),
    },
    "sweep-offer": {
        "task": "billing.tasks.sweep_offer",
        "schedule": crontab(hour="2", minute="30"),
    },
    "prune-webhooks": {
        "task": "webhooks.tasks.prune_webhooks",
        "schedule": crontab(hour="4", minute="30"),
    },
    "prune-idempotency-keys": {
        "task": "usage.tasks.prune_idempotency_keys",
        "schedule": crontab(hour="3", minute="40"),
    },
}


def _without_traceback(record: LogRecord) -> bool:
    """Let every line pass, but of a page that was forbidden no more than the line: nothing broke."""
    if getattr(record, "status_code", 0) == 403:
        record.exc_info = None
    return True


# `line`, for people, or `json`, for whoever collects the lines of all processes.
LOG_FORMAT = env.str("LOG_FORMAT", default="line")
if LOG_FORMAT not in ("line", "json"):
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}; it is line or json")
# A line for each request.
LOG_REQUESTS = env.bool("LOG_REQUESTS", default=LOG_FORMAT == "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(levelname)s %(name)s: %(message)s"},
        "json": {"()": "config.logs.JsonLines"},
    },
    "filters": {
        "secrets": {"()": "accounts.redaction.WithoutSecrets"},
        # Anybody could fill the log with bad keys, and a line says no more than the path.
        "refusals": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 0) not in (401, 429),
        },
        "forbidden": {"()": "django.utils.log.CallbackFilter", "callback": _without_traceback},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["secrets"]}
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    # A line a request, also for calls that the embedded engine answers in this process.
    "loggers": {
        "httpx": {"level": "WARNING"},
        "stripe": {"level": "WARNING"},
        "django.request": {"filters": ["refusals", "forbidden"]},
        "countinghouse.requests": {"level": "NOTSET" if LOG_REQUESTS else "WARNING"},
    },
}

# ── Watching ─────────────────────────────────────────────────────────────────────────────────────────────────
# With it `/metrics` may be read from anywhere; without one, only from this machine.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
PROMETHEUS_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf"))
# Where errors are sent; nowhere without it.
SENTRY_DSN = env.str("SENTRY_DSN", default="")
