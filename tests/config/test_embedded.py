"""The embedded PostgreSQL and Redis: what a kill, a second start and a stale file do to them."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config.embedded import MARKER, AlreadyRunning, ServiceError, Services, sweep

# Starts the services of the folder in argv[1], puts one row and one task into them, and waits to be killed.
HOLDER = """
import sys, time, psycopg, redis
from config.embedded import Services
services = Services(sys.argv[1], holder="http://127.0.0.1:1")
services.start()
with psycopg.connect(services.database_url) as connection:
    connection.execute("CREATE TABLE kept (id int)")
redis.Redis.from_url(services.redis_url).lpush("queue", "task")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def without_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has started the services of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout, process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()
    with Services(tmp_path, fast=True):
        pass


def tables(services: Services) -> list[str]:
    with psycopg.connect(services.database_url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return [name for (name,) in rows]


def test_a_second_start_is_told_who_has_the_folder(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(AlreadyRunning, match=rf"process {holder.pid}, http://127\.0\.0\.1:1"):
        Services(tmp_path).start()


@pytest.mark.parametrize("left", ["run.lock", "postgres"])
def test_a_folder_of_another_user_is_refused_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    (tmp_path / left).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(ServiceError, match=r"belongs to another user.*VAR_DIR"):
        Services(tmp_path).start()
    assert list(tmp_path.iterdir()) == [tmp_path / left]


def test_a_run_in_a_folder_below_is_left_alone(tmp_path: Path) -> None:
    with Services(tmp_path / "test", fast=True) as below:
        swept = sweep(tmp_path)

        assert swept == []
        assert below.failure() is None


def test_what_a_killed_run_wrote_is_there_after_the_next_start(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    holder.wait()

    with Services(tmp_path) as services:
        assert tables(services) == ["kept"]
        with redis.Redis.from_url(services.redis_url) as client:
            assert client.lrange("queue", 0, -1) == [b"task"]


def test_servers_of_a_killed_run_are_replaced(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    left = psutil.Process(holder.pid).children()
    holder.kill()
    holder.wait()

    with Services(tmp_path, fast=True):
        assert len(left) == 2
        assert not any(server.is_running() for server in left)


def test_a_killed_postgres_recovers_though_its_process_id_is_anothers(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
    server = psutil.Process(int(pid_file.read_text().splitlines()[0]))
    server.kill()
    holder.kill()
    holder.wait()
    psutil.wait_procs([server], timeout=10)
    bystander = subprocess.Popen(["sleep", "60"])
    pid_file.write_text(pid_file.read_text().replace(str(server.pid), str(bystander.pid), 1))

    with Services(tmp_path, fast=True) as services:
        assert tables(services) == ["kept"]
        assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_cluster_that_was_made_half_way_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.new" / "data" / "base").mkdir(parents=True)

    with Services(tmp_path, fast=True) as services:
        assert tables(services) == []

    assert not (tmp_path / "postgres.new").exists()


def test_addresses_stay_the_same_and_are_for_the_owner_only(tmp_path: Path) -> None:
    with Services(tmp_path, fast=True) as first:
        pass
    with Services(tmp_path, fast=True) as second:
        pass

    assert first.environment() == second.environment()
    assert stat.S_IMODE((tmp_path / "services.json").stat().st_mode) == 0o600


def test_strangers_are_refused(tmp_path: Path) -> None:
    with Services(tmp_path, fast=True) as services:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(services.database_url, password="guessed")
        with (
            redis.Redis.from_url(services.redis_url.replace("//:", "//:guessed")) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_only_loopback_is_listened_on(tmp_path: Path) -> None:
    with Services(tmp_path, fast=True):
        addresses = {
            connection.laddr.ip
            for server in psutil.Process().children()
            if server.environ().get(MARKER) == str(tmp_path)
            for connection in server.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }

    assert addresses == {"127.0.0.1"}


def test_what_the_environment_names_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example.com/ours")
    monkeypatch.setenv("REDIS_URL", "redis://cache.example.com/0")

    with Services(tmp_path) as services:
        assert services.environment()["DATABASE_URL"] == "postgresql://db.example.com/ours"
        assert not (tmp_path / "postgres").exists()
        assert not (tmp_path / "redis").exists()


def test_nothing_runs_on_after_stop(tmp_path: Path) -> None:
    with Services(tmp_path, fast=True):
        application = subprocess.Popen(["sleep", "60"], env=os.environ | {MARKER: str(tmp_path)})

    assert not psutil.pid_exists(application.pid)
    application.wait()
    assert not [child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())]
