from django.contrib import admin
from django.urls import include, path

from billing import thin_events
from config import mailbox
from config.health import healthz, readyz
from config.home import home
from config.metrics import metrics

handler400 = "config.api.errors.bad_request"
handler403 = "config.api.errors.permission_denied"
handler404 = "config.api.errors.not_found"
handler500 = "config.api.errors.server_error"

urlpatterns = [
    path("", home, name="home"),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("usage.urls")),
    path("", include("webhooks.urls")),
    path("accounts/", include("accounts.sign_in_urls")),
    path("admin/", admin.site.urls),
    path("api/", include("config.api.urls")),
    path("demo/mail/", mailbox.mailbox, name="demo_mailbox"),
    path("demo/mail/<str:file>/<int:number>/", mailbox.message, name="demo_message"),
    path("stripe/", include("djstripe.urls", namespace="djstripe")),
    path("stripe/thin-events/", thin_events.receive, name="stripe_thin_events"),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
]
