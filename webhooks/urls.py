from django.urls import path

from webhooks.views import event_types

app_name = "webhooks"

urlpatterns = [
    path("webhooks/events/", event_types.catalogue, name="event_types"),
]
