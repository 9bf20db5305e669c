"""A system of its own to measure: services and web servers under a temporary folder, gone afterwards."""

import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import django

from config.embedded import Services

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def system(settings_module: str) -> Iterator[None]:
    """Start PostgreSQL and Redis as the product does, durable, and make the tables of these settings."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    os.environ.setdefault("STORE_USAGE_FOR_BILLING", "no")  # as without the demo
    with tempfile.TemporaryDirectory(prefix="countinghouse-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        with Services(folder, holder="bench") as services:
            os.environ |= services.environment() | {"DJANGO_SETTINGS_MODULE": settings_module}
            django.setup()
            _migrate()
            yield


def _migrate() -> None:
    from django.core.management import call_command
    from django.test import override_settings

    # dj-stripe's migrations take most of a minute and are not measured.
    with override_settings(MIGRATION_MODULES={"djstripe": None}):
        call_command("migrate", verbosity=0)
        call_command("migrate", run_syncdb=True, verbosity=0)


@contextlib.contextmanager
def server(
    settings_module: str, *, workers: int = 1, application: str = "config.wsgi:application"
) -> Iterator[int]:
    """Run granian as the Procfile does, with so many worker processes, and yield its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers), "--blocking-threads", "4", "--no-access-log"]
    command += ["--log-level", "warning", application]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": settings_module, "PORT": str(port)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            Connection(port).request("GET", "/healthz")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The web server on port {port} did not answer within 30 s")


class Connection:
    """A kept HTTP connection that costs next to nothing, so that the server is what is measured."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def request(self, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, bytes]:
        """The status and body of the answer."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._http.request(method, path, body, headers)
        response = self._http.getresponse()
        return response.status, response.read()


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def line(
    name: str, value: str, ratio: float | None = None, goal: float | None = None, note: str = ""
) -> None:
    """Print a figure, and beside it the ratio and whether it reaches its goal."""
    verdict = "" if ratio is None or goal is None else ("reached" if ratio >= goal else "MISSED")
    ratio_text = "" if ratio is None else f"{ratio:8.2f}"
    goal_text = "" if goal is None else f"goal {goal:g}"
    print(f"{name:<44}{value:>14}{ratio_text:>10}  {goal_text:<10}{verdict:<8}{note}".rstrip())
