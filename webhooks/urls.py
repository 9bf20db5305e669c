from django.urls import path

from webhooks.views import configure, endpoints, event_types, messages, operational

app_name = "webhooks"

urlpatterns = [
    path("o/<slug:organization_uid>/webhooks/", endpoints.listing, name="endpoints"),
    path("o/<slug:organization_uid>/webhooks/portal/", endpoints.portal, name="portal"),
    path("o/<slug:organization_uid>/webhooks/create/", endpoints.create, name="create_endpoint"),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/", endpoints.detail, name="endpoint"
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/edit/",
        endpoints.edit,
        name="edit_endpoint",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/pause/",
        endpoints.pause,
        name="pause_endpoint",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/resume/",
        endpoints.resume,
        name="resume_endpoint",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/delete/",
        endpoints.delete,
        name="delete_endpoint",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/secret/",
        endpoints.secret,
        name="endpoint_secret",
    ),
    path(
        "o/<slug:organization_uid>/webhooks/endpoints/<slug:endpoint_id>/rotate/",
        endpoints.rotate,
        name="rotate_endpoint_secret",
    ),
    path("webhooks/configure/<str:token>/", configure.configure, name="configure"),
    path("webhooks/svix", operational.receive, name="operational"),
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
