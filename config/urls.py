from django.contrib import admin
from django.urls import include, path

from config.health import healthz, readyz

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("accounts/", include("allauth.account.urls")),
    path("api/", include("config.api.urls")),
    path("admin/", admin.site.urls),
]
