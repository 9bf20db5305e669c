from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.api import WhoAmI
from config.api import schema  # noqa: F401 (it says how the API's views are described)
from usage import gateway, urls  # noqa: F401 (the latter registers the converter job_id)
from usage.api import JobById, Jobs, UsageExport

urlpatterns = [
    path("v1/gateway/verify", gateway.verify, name="gateway-verify"),
    path("v1/gateway/jobs", gateway.report_jobs, name="gateway-jobs"),
    path("v1/api-keys/whoami", WhoAmI.as_view(), name="whoami"),
    path("v1/jobs", Jobs.as_view(), name="jobs"),
    path("v1/job/<job_id:job_id>", JobById.as_view(), name="job"),
    path("v1/usage/export", UsageExport.as_view(), name="usage-export"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(), name="docs"),
]
