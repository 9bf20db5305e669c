from django.urls import path

from usage import gateway

urlpatterns = [
    path("v1/gateway/verify", gateway.verify, name="gateway-verify"),
    path("v1/gateway/jobs", gateway.report_jobs, name="gateway-jobs"),
]
