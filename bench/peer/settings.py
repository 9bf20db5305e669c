from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS, REDIS_URL

INSTALLED_APPS = [*INSTALLED_APPS, "bench.peer", "rest_framework_api_key", "knox"]
ROOT_URLCONF = "bench.peer.urls"
# Peers are spared what the product's pages need.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "allauth.account.middleware.AccountMiddleware",  # allauth does not start without it
]
# Where their throttle counts.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
