from django.urls import path, register_converter
from django.urls.converters import StringConverter

from usage.views import billing_usage, dashboard, data_settings, files, request_log

app_name = "usage"


class JobId(StringConverter):
    """Whatever the data plane calls its jobs, slashes and line breaks included."""

    regex = r"[\s\S]+"


register_converter(JobId, "job_id")

urlpatterns = [
    path("billing-usage", billing_usage.billing_usage, name="billing_usage"),
    path("files/<path:name>", files.file, name="file"),
    path("o/<slug:organization_uid>/usage/", dashboard.dashboard, name="dashboard"),
    path("o/<slug:organization_uid>/settings/data/", data_settings.data_settings, name="data_settings"),
    path("o/<slug:organization_uid>/jobs/", request_log.listing, name="jobs"),
    path("o/<slug:organization_uid>/jobs/<job_id:job_id>/", request_log.job, name="job"),
]
