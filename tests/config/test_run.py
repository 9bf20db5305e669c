"""`manage.py run`: the whole system from nothing, with the real migrations, and nothing left of it afterwards."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from config.embedded import MARKER

# Two minutes are enough on a machine that does nothing else.
TIMEOUT = 600.0


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def run(var_dir: Path, port: int) -> "subprocess.Popen[str]":
    environment = os.environ | {"VAR_DIR": str(var_dir), "PORT": str(port), "DEMO": "no"}
    for name in ("DATABASE_URL", "REDIS_URL", MARKER):
        del environment[name]
    return subprocess.Popen(
        [sys.executable, "manage.py", "run"],
        cwd=settings.BASE_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def readiness(port: int) -> int | None:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        try:
            connection.request("GET", "/readyz")
        except ConnectionRefusedError:
            return None
        return connection.getresponse().status


def processes_of(var_dir: Path) -> list[psutil.Process]:
    def is_marked(process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARKER) == str(var_dir)
        except psutil.Error:
            return False

    return list(filter(is_marked, psutil.process_iter()))


def test_one_command_starts_everything_and_ctrl_c_ends_it(tmp_path: Path, free_port: int) -> None:
    with run(tmp_path, free_port) as process:
        deadline = time.monotonic() + TIMEOUT
        while readiness(free_port) != 200 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        commands = [" ".join(child.cmdline()) for child in processes_of(tmp_path)]
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 0, output
    for part in (
        "postgres",
        "redis-server",
        "granian",
        "celery --quiet --app config worker",
        "beat",
        "deliver",
    ):
        assert any(part in command for command in commands), output
    assert "is ready: http://127.0.0.1" in output
    assert processes_of(tmp_path) == []


def test_a_taken_port_is_said_with_the_way_out(tmp_path: Path, taken_port: int) -> None:
    with run(tmp_path, taken_port) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert f"Port {taken_port} is in use by process {os.getpid()}" in output
    assert f"PORT={taken_port + 1} make run" in output
    assert not (tmp_path / "postgres").exists()
