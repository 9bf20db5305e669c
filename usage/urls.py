from django.urls import path, register_converter
from django.urls.converters import StringConverter

from usage.views import (
    alerts,
    billing_usage,
    credits,
    dashboard,
    data_settings,
    exports,
    files,
    key_usage,
    pipelines,
    request_log,
    spend_cap,
)

app_name = "usage"


class JobId(StringConverter):
    """Whatever the data plane calls its jobs, slashes and line breaks included."""

    regex = r"[\s\S]+"


register_converter(JobId, "job_id")

urlpatterns = [
    path("billing-usage", billing_usage.billing_usage, name="billing_usage"),
    path("files/<path:name>", files.file, name="file"),
    path("o/<slug:organization_uid>/usage/", dashboard.dashboard, name="dashboard"),
    path("o/<slug:organization_uid>/usage/keys/<slug:key_uid>/", key_usage.key_usage, name="key_usage"),
    path("o/<slug:organization_uid>/usage/credits/", credits.price_list, name="credits"),
    path("o/<slug:organization_uid>/usage/jobs.csv", exports.csv, {"kind": "jobs"}, name="jobs_csv"),
    path("o/<slug:organization_uid>/usage/records.csv", exports.csv, {"kind": "records"}, name="records_csv"),
    path("o/<slug:organization_uid>/usage/exports/", exports.listing, name="exports"),
    path("o/<slug:organization_uid>/usage/exports/create/", exports.create, name="create_export"),
    path(
        "o/<slug:organization_uid>/usage/exports/<slug:export_uid>/download/",
        exports.download,
        name="download_export",
    ),
    path(
        "o/<slug:organization_uid>/usage/exports/<slug:export_uid>/cancel/",
        exports.cancel,
        name="cancel_export",
    ),
    path(
        "o/<slug:organization_uid>/usage/exports/<slug:export_uid>/retry/", exports.retry, name="retry_export"
    ),
    path(
        "o/<slug:organization_uid>/usage/exports/<slug:export_uid>/delete/",
        exports.delete,
        name="delete_export",
    ),
    path("o/<slug:organization_uid>/usage/alerts/", alerts.listing, name="alerts"),
    path("o/<slug:organization_uid>/usage/alerts/create/", alerts.create, name="create_alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/", alerts.detail, name="alert"),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/edit/", alerts.edit, name="edit_alert"),
    path(
        "o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/enable/", alerts.enable, name="enable_alert"
    ),
    path(
        "o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/disable/",
        alerts.disable,
        name="disable_alert",
    ),
    path("o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/test/", alerts.test, name="test_alert"),
    path(
        "o/<slug:organization_uid>/usage/alerts/<slug:alert_uid>/delete/", alerts.delete, name="delete_alert"
    ),
    path("o/<slug:organization_uid>/usage/spend-cap/", spend_cap.spend_cap, name="spend_cap"),
    path("o/<slug:organization_uid>/usage/spend-cap/remove/", spend_cap.remove, name="remove_spend_cap"),
    path("o/<slug:organization_uid>/settings/data/", data_settings.data_settings, name="data_settings"),
    path("o/<slug:organization_uid>/pipelines/", pipelines.listing, name="pipelines"),
    path("o/<slug:organization_uid>/pipelines/create/", pipelines.create, name="create_pipeline"),
    path(
        "o/<slug:organization_uid>/pipelines/preview/<job_id:job_id>/",
        pipelines.preview,
        name="preview_pipeline",
    ),
    path("o/<slug:organization_uid>/pipelines/<slug:draft_uid>/", pipelines.detail, name="pipeline"),
    path("o/<slug:organization_uid>/pipelines/<slug:draft_uid>/save/", pipelines.save, name="save_pipeline"),
    path(
        "o/<slug:organization_uid>/pipelines/<slug:draft_uid>/check/", pipelines.check, name="check_pipeline"
    ),
    path(
        "o/<slug:organization_uid>/pipelines/<slug:draft_uid>/delete/",
        pipelines.delete,
        name="delete_pipeline",
    ),
    path(
        "o/<slug:organization_uid>/pipelines/<slug:draft_uid>/studio/",
        pipelines.studio,
        name="pipeline_in_studio",
    ),
    path("o/<slug:organization_uid>/jobs/", request_log.listing, name="jobs"),
    path("o/<slug:organization_uid>/jobs/<job_id:job_id>/", request_log.job, name="job"),
]
