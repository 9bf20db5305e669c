"""`/metrics`, for Prometheus: requests by view, what the apps count (`usage.counted`), and what waits.

docs/metrics.md lists them. What waits is read at each scrape (`config.waiting`); a database or Redis that does not
answer leaves its numbers out and fails nothing. With PROMETHEUS_MULTIPROC_DIR all processes count together there.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_prometheus.middleware import PrometheusAfterMiddleware
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from accounts import authentication
from accounts.access import public
from config import waiting

# By which a proxy says that it passes on somebody else's call.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST")


class CountByView(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Counts requests by the name of their view. Nothing that a caller makes up becomes a label."""

    def process_request(self, request: HttpRequest) -> None:
        with suppress(ValueError):  # a Content-Length that is no number
            super().process_request(request)

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: Any) -> Any:
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)


class Waiting(Collector):
    """What waits, as gauges, and whether database and Redis told."""

    def collect(self) -> Iterator[Metric]:
        found, queued = waiting.in_database(), waiting.in_queue()
        up = GaugeMetricFamily("countinghouse_up", "Whether it answers.", labels=["part"])
        up.add_metric(["database"], found is not None)
        up.add_metric(["redis"], queued is not None)
        yield up
        told = (found or {}) | ({} if queued is None else {"queue_length": queued})
        for name, meaning in waiting.MEANINGS.items():
            if name in told:
                yield GaugeMetricFamily(f"countinghouse_{name}", meaning, value=told[name])


# When each was first counted, which would be as many again.
disable_created_metrics()  # type: ignore[no-untyped-call]


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Waiting())
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    return registry


_REGISTRY = _registry()


@public
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, for who knows `METRICS_TOKEN`; without one, for whoever calls from this machine."""
    if not _may_read(request):
        raise Http404
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_REGISTRY), content_type=content_type)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        token = authentication.bearer(request.headers.get("Authorization", ""))
        return constant_time_compare(token, settings.METRICS_TOKEN)
    if any(name in request.META for name in _FORWARDED):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
