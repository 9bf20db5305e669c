from django.urls import path

from webhooks.views import event_types, messages

app_name = "webhooks"

urlpatterns = [
    path("webhooks/events/", event_types.catalogue, name="event_types"),
    path("o/<slug:organization_uid>/webhooks/messages/", messages.listing, name="messages"),
    path("o/<slug:organization_uid>/webhooks/messages/<slug:message_id>/", messages.detail, name="message"),
    path(
        "o/<slug:organization_uid>/webhooks/messages/<slug:message_id>/resend/",
        messages.resend,
        name="resend_message",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/recover/",
        messages.recover,
        name="recover_endpoint",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/replay/",
        messages.replay,
        name="replay_endpoint",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/test/",
        messages.test,
        name="test_endpoint",
    ),
    path("o/<slug:organization_uid>/webhooks/waiting/", messages.waiting, name="waiting"),
]
