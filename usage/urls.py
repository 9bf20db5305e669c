from django.urls import path, register_converter
from django.urls.converters import StringConverter

from usage.views import alerts, billing_usage, dashboard, data_settings, files, request_log, spend_cap

app_name = "usage"


class JobId(StringConverter):
    """Whatever the data plane calls its jobs, slashes and line breaks included."""

    regex = r"[\s\S]+"


register_converter(JobId, "job_id")

urlpatterns = [
    path("billing-usage", billing_usage.billing_usage, name="billing_usage"),
    path("files/<path:name>", files.file, name="file"),
    path("o/<slug:organization_uid>/usage/", dashboard.dashboard, name="dashboard"),
    path("o/<slug:organization_uid>/usage/alerts/", alerts.listing, name="alerts"),
    path("o/<slug:organization_uid>/usage/alerts/create/", alerts.create, name="create_alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/", alerts.detail, name="alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/edit/", alerts.edit, name="edit_alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/enable/", alerts.enable, name="enable_alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/disable/", alerts.disable, name="disable_alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/test/", alerts.test, name="test_alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/delete/", alerts.delete, name="delete_alert"),
    path("o/<slug:organization_uid>/usage/spend-cap/", spend_cap.spend_cap, name="spend_cap"),
    path("o/<slug:organization_uid>/usage/spend-cap/remove/", spend_cap.remove, name="remove_spend_cap"),
    path("o/<slug:organization_uid>/settings/data/", data_settings.data_settings, name="data_settings"),
    path("o/<slug:organization_uid>/jobs/", request_log.listing, name="jobs"),
    path("o/<slug:organization_uid>/jobs/<job_id:job_id>/", request_log.job, name="job"),
]
