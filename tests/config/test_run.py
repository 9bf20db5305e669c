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

# Runs the commands in argv[4:] under a supervisor that, if it were for honcho, would kill without waiting.
SUPERVISED = """
import sys
from honcho import manager
from config.embedded import Services
from config.supervisor import Supervisor
manager.KILL_WAIT = 0
def announce():
    raise OSError("No space left on device")
supervisor = Supervisor(Services(sys.argv[1]), int(sys.argv[2]), announce, prefix=sys.argv[3] == "yes")
for number, command in enumerate(sys.argv[4:]):
    supervisor.add_process(f"process-{number}", command)
supervisor.loop()
print(supervisor.failure)
"""

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


def run(var_dir: Path, port: int | str, **variables: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"VAR_DIR": str(var_dir), "PORT": str(port), "DEMO": "no"} | variables
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


def supervise(var_dir: Path, port: int, *commands: str, prefix: str = "yes") -> str:
    """What a supervisor says from its start to its end."""
    arguments = [sys.executable, "-c", SUPERVISED, str(var_dir), str(port), prefix, *commands]
    return subprocess.run(
        arguments, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=60, check=True
    ).stdout


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


def test_the_receiver_s_port_is_looked_at_as_well(tmp_path: Path, free_port: int, taken_port: int) -> None:
    with run(tmp_path, free_port, DEMO="yes", RECEIVER_PORT=str(taken_port)) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert f"RECEIVER_PORT={taken_port + 1} make run" in output
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("port", ["abc", "0", "65536", ""])
def test_a_port_that_is_none_is_said_plainly(tmp_path: Path, port: str) -> None:
    with run(tmp_path, port) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert output == f"PORT is {port!r}; a port is a number from 1 to 65535\n"


def test_what_ends_slowly_has_the_time_to(tmp_path: Path, free_port: int) -> None:
    slow = "trap 'sleep 1; echo finished; exit' TERM; while true; do sleep 0.1; done"

    said = supervise(tmp_path, free_port, "exec sleep 0.5", slow)

    assert "finished" in said
    assert "SIGKILL" not in said


def test_without_a_prefix_lines_stand_as_they_were_said(tmp_path: Path, free_port: int) -> None:
    said = supervise(tmp_path, free_port, """echo '{"level": "INFO"}'""", prefix="no")

    assert '{"level": "INFO"}' in said.splitlines()


def test_a_start_that_cannot_be_announced_ends_with_the_reason(tmp_path: Path, free_port: int) -> None:
    web = f"exec {sys.executable} -m http.server --bind 127.0.0.1 {free_port}"

    said = supervise(tmp_path, free_port, web)

    assert said.endswith("could not be said: No space left on device\n")
