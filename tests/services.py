"""A pytest plugin: PostgreSQL and Redis for one run of the tests, started before Django reads its settings.

What the environment says about databases is ignored, so that tests never touch one that matters.
"""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from config.embedded import AlreadyRunning, Services

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start the services in the first process; its xdist workers inherit them, each with a Redis database."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        services = _start()
        early_config.add_cleanup(services.stop)
        os.environ.update(services.environment())
    else:
        server, _ = os.environ["REDIS_URL"].rsplit("/", 1)
        os.environ["REDIS_URL"] = f"{server}/{1 + int(worker.removeprefix('gw'))}"
    yield


def _start() -> Services:
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    version = os.environ["EMBEDDED_POSTGRES"] = os.environ.get("TEST_POSTGRES", "18")
    var_dir = Path(os.environ.get("VAR_DIR", ROOT / "var"))
    # Two runs at a time each take a folder of their own.
    for number in count(1):
        services = Services(var_dir / f"test-{version}-{number}", fast=True, holder="tests")
        try:
            services.start()
        except AlreadyRunning:
            continue
        return services
    raise AssertionError
