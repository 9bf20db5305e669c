from django.urls import path

from bench.peer import keys
from bench.peer.views import ReportJobs, ready

urlpatterns = [
    path("healthz", ready),
    path("jobs", ReportJobs.as_view()),
    path("noop-django", keys.nothing),
    path("noop-drf", keys.Nothing.as_view()),
    path("api-key", keys.WithApiKey.as_view()),
    path("knox", keys.WithKnox.as_view()),
]
