import contextlib
import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote, urlencode

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from honcho.environ import parse_procfile

from config.embedded import ServiceError, Services
from config.supervisor import Supervisor

# Left out of a system without a demo.
DEMO_PROCESSES = ("dataplane", "receiver", "simulator")
# The demo's first customers began so many seconds ago, and so does what stands in for Stripe.
PAST = 61 * 86_400


class Command(BaseCommand):
    help = "Start the whole system on this machine: database, Redis and every process of the Procfile."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a terminal cannot show must not end the run.
            sys.stdout.reconfigure(errors="replace")
        # A closed terminal and a polite kill end a run as Ctrl-C does.
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
        services = Services(settings.VAR_DIR, holder=settings.BASE_URL)
        try:
            services.claim()
            self._run(services)
        except ServiceError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self._say("")
        finally:
            # Stopping is quick, and another Ctrl-C must not leave half of it running.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            services.stop()
        self._say(f"Stopped. All data is kept in {settings.VAR_DIR}.")

    def _run(self, services: Services) -> None:
        demo = settings.VAR_DIR / "demo.json"
        # It says that the demo is ready, so it must not outlive the run that wrote it.
        demo.unlink(missing_ok=True)
        _require_port("PORT", settings.PORT)
        if settings.DEMO:
            _require_port("RECEIVER_PORT", settings.RECEIVER_PORT)
            if settings.RECEIVER_PORT == settings.PORT:
                raise CommandError(f"PORT and RECEIVER_PORT are both {settings.PORT}; each needs its own.")
            if _has_simulator():
                _require_port("STRIPE_SIMULATOR_PORT", settings.STRIPE_SIMULATOR_PORT)
        self._say("Starting PostgreSQL and Redis")
        services.start()
        environment = os.environ | services.environment()
        environment |= {
            "PORT": str(settings.PORT),
            "STRIPE_SIMULATOR_PORT": str(settings.STRIPE_SIMULATOR_PORT),
            "PYTHONUNBUFFERED": "1",
            # Celery's warning to root, who may well run a demo.
            "PYTHONWARNINGS": "ignore:You're running the worker",
            # The Procfile's commands are those of this virtual environment.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        self._manage(environment, "migrate_with_progress")
        draft = settings.VAR_DIR / "demo.json.new"
        if settings.DEMO:
            draft.unlink(missing_ok=True)
            with _simulator(environment):
                if _has_simulator():
                    self._manage(environment, "sync_stripe", "--verbosity", "0")
                self._manage(environment, "demo", "--base-url", settings.BASE_URL, "--output", str(draft))

        def announce() -> None:
            if settings.DEMO:
                self._say(_start_box(json.loads(draft.read_text())))
                draft.chmod(0o600)
                draft.replace(demo)
            else:
                self._say(_start_box(None))

        # A line with something before it is no JSON.
        supervisor = Supervisor(services, settings.PORT, announce, prefix=settings.LOG_FORMAT != "json")
        procfile = parse_procfile((settings.BASE_DIR / "Procfile").read_text())
        for name, command in procfile.processes.items():
            if _is_wanted(name):
                supervisor.add_process(name, command, env=environment, cwd=settings.BASE_DIR)
        try:
            supervisor.loop()
        finally:
            demo.unlink(missing_ok=True)
        if supervisor.failure:
            raise CommandError(supervisor.failure)

    def _manage(self, environment: dict[str, str], *command: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            env=environment,
            cwd=settings.BASE_DIR,
            # A session of its own: it is this process that hears Ctrl-C and ends the others.
            start_new_session=True,
        )
        if process.wait():
            raise CommandError(f"`manage.py {command[0]}` failed; the reason stands above.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _has_simulator() -> bool:
    """Whether a simulator stands in for Stripe: in the demo, without a key of Stripe's."""
    return bool(settings.DEMO and settings.STRIPE_IS_SIMULATED)


def _is_wanted(process: str) -> bool:
    if process == "simulator":
        return _has_simulator()
    return settings.DEMO or process not in DEMO_PROCESSES


@contextlib.contextmanager
def _simulator(environment: dict[str, str]) -> Iterator[None]:
    """Run the simulator, if there is to be one, while the demo is made; the supervisor starts it again."""
    if not _has_simulator():
        yield
        return
    command = [sys.executable, "-m", "billing.simulator", "--port", str(settings.STRIPE_SIMULATOR_PORT)]
    command += ["--data", str(settings.VAR_DIR / "stripe"), "--ago", str(PAST)]
    process = subprocess.Popen(
        command, env=environment, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout
        process.stdout.readline()  # it says when it listens
        yield
    finally:
        process.terminate()
        process.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _require_port(name: str, port: int) -> None:
    """Raise CommandError, saying who has it and what to do, unless the port of that name can be listened on."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError as error:
        reason = "is in use" + _user_of(port) if error.errno == errno.EADDRINUSE else "is not ours to use"
        another = port + 1 if port < settings.LAST_PORT else port - 1
        raise CommandError(f"Port {port} {reason}. Choose another one: {name}={another} make run") from error


def _user_of(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            # Other users' processes are not shown to us.
            if connection.pid is None:
                return " by another user's process"
            return f" by process {connection.pid} ({' '.join(psutil.Process(connection.pid).cmdline())[:80]})"
    return ""


def _start_box(demo: dict[str, Any] | None) -> str:
    """Return what a person needs to begin: addresses, sign-ins and keys, from the content of demo.json."""
    lines = [f"{settings.BRAND} is ready: {settings.BASE_URL}", ""]
    if demo:
        lines += _demo_lines(demo)
    else:
        lines += [
            "Staff:        python manage.py create_staff",
            "Data plane:   python manage.py create_service_key",
        ]
        if not settings.EMAIL_URL:
            lines.append(f"Mail:         written to {settings.EMAIL_FILE_PATH}, sent once EMAIL_URL is set")
    lines += ["", "Ctrl-C stops everything and keeps all data."]
    rule = "─" * 100
    return "\n".join(["", rule, *lines, rule, ""])


def _demo_lines(demo: dict[str, Any]) -> list[str]:
    lines = []
    for organization in demo["organizations"]:
        lines.append(f"{organization['name']} ({organization['plan']})")
        people = [organization["owner"] | {"role": "owner"}, *organization["members"]]
        lines += [f"  {person['role']:<10}  {person['email']:<34}  {person['password']}" for person in people]
        lines += [
            f"  {'API key':<10}  {organization['api_key']}",
            f"  {'personal':<10}  {organization['personal_key']}",
        ]
    staff = demo["staff"]
    label = quote(f"{settings.BRAND}:{staff['email']}")
    query = urlencode({"secret": staff["totp_secret"], "issuer": settings.BRAND})
    lines += [
        f"Support staff, at {settings.BASE_URL}/admin/",
        f"  {'staff':<10}  {staff['email']:<34}  {staff['password']}",
        f"  {'one-time':<10}  otpauth://totp/{label}?{query}",
        f"  {'':<10}  (its code of this moment: .venv/bin/python manage.py demo --code)",
        "Gateway",
        f"  {'key':<10}  {demo['gateway_key']}",
        "",
        f"Webhooks arrive at  {demo['webhook_sink']['url']}",
    ]
    if not settings.EMAIL_URL:
        lines.append(f"Mail arrives at     {settings.BASE_URL}{reverse('demo_mailbox')}")
    if settings.STRIPE_IS_SIMULATED:
        lines.append(f"Stripe, simulated:  {settings.STRIPE_API_BASE}")
    lines.append(f"All of this is in   {settings.VAR_DIR / 'demo.json'}")
    return lines
