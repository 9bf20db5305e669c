from django.contrib import admin
from django.urls import include, path

from config import mailbox
from config.health import healthz, readyz
from config.home import home

urlpatterns = [
    path("", home, name="home"),
    path("", include("accounts.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("config.api.urls")),
    path("demo/mail/", mailbox.mailbox, name="demo_mailbox"),
    path("demo/mail/<str:file>/<int:number>/", mailbox.message, name="demo_message"),
    path("healthz", healthz),
    path("readyz", readyz),
]
