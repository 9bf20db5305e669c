from django.urls import path

from bench.peer.views import ReportJobs, ready

urlpatterns = [path("healthz", ready), path("jobs", ReportJobs.as_view())]
