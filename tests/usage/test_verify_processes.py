"""Several web servers that know a key hear of each change: a second after it, none answers as before."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import keys, members, organizations, personal_data, two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from usage import fast_path, spending
from usage.models import Entitlement, UsageDay

pytestmark = pytest.mark.django_db(transaction=True)

Key = tuple[ApiKey, str]

SERVERS = 3
# The contract: what began a second after a change goes by it.
CONTRACT = 1.0


class Asker:
    """The data plane's connections to each web server."""

    def __init__(self, ports: list[int], service_key: str) -> None:
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for port in ports]
        self._headers = {"Authorization": f"Bearer {service_key}", "Content-Type": "application/json"}

    def close(self) -> None:
        for http_connection in self._connections:
            http_connection.close()

    def ask(self, key: str, **fields: Any) -> list[str]:
        """The code that each server answers, or its status where that is not 200."""
        body = json.dumps({"key": key, **fields})
        return [self._ask_one(http_connection, body) for http_connection in self._connections]

    def _ask_one(self, http_connection: http.client.HTTPConnection, body: str) -> str:
        # Whoever is refused may be answered before their body is read, and is then cut off; the answer is there.
        with suppress(BrokenPipeError):
            http_connection.request("POST", fast_path.PATH, body, self._headers)
        response = http_connection.getresponse()
        answer = response.read()
        return json.loads(answer)["code"] if response.status == 200 else str(response.status)

    def ask_for_a_second(self, key: str, **fields: Any) -> None:
        """Keep what the servers know of the key in use while it goes out of date."""
        end = time.monotonic() + CONTRACT
        while time.monotonic() < end:
            self.ask(key, **fields)


@pytest.fixture(scope="module")
def servers(django_db_setup: None) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Web servers as the Procfile starts them, on this run's database, by their ports."""
    database, _ = os.environ["DATABASE_URL"].rsplit("/", 1)
    environment = os.environ | {
        "DATABASE_URL": f"{database}/{connection.settings_dict['NAME']}",
        "REDIS_URL": settings.REDIS_URL,
    }
    granian = [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1"]
    granian += ["--blocking-threads", "4", "--no-access-log", "--log-level", "warning"]
    ports = []
    for _ in range(SERVERS):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(probe.getsockname()[1])
    servers = {
        port: subprocess.Popen(
            [*granian, "--port", str(port), "config.wsgi:application"],
            cwd=settings.BASE_DIR,
            env=environment,
            process_group=0,
        )
        for port in ports
    }
    try:
        for port in servers:
            _wait(port)
        yield servers
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as probe:
            try:
                probe.request("GET", "/healthz")
                probe.getresponse().read()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.1)


@pytest.fixture
def asker(
    servers: dict[int, subprocess.Popen[bytes]], service_key: Key, organization: Organization
) -> Iterator[Asker]:
    Entitlement.objects.update(requests_per_minute=1_000_000)
    asker = Asker(list(servers), service_key[1])
    yield asker
    asker.close()


Change = Callable[[ApiKey, Organization], object]


def change_key(**changes: Any) -> Change:
    return lambda key, _: keys.update(key=key, changes=changes, actor=None)


def suspend(_: ApiKey, organization: Organization) -> None:
    Entitlement.objects.update(may_call=False)
    organization.bump_access()


def use_up_credits(_: ApiKey, __: Organization) -> None:
    """As ingest does, which bumps nothing."""
    Entitlement.objects.update(credits_used=Decimal(1_000_000))


def reach_cap(_: ApiKey, organization: Organization) -> None:
    today = timezone.now().date()
    totals = {"requests": 1, "pages": 1, "credits": 1, "cost": 5, "changed_at": timezone.now()}
    UsageDay.objects.create(organization_id=organization.pk, day=today, **totals)
    spending.set_cap(organization=organization, amount=Decimal(1), actor=None)


def rotate(key: ApiKey, _: Organization) -> None:
    keys.rotate(key=key, grace=keys.GRACES["now"], actor=None)


def rotate_and_end_grace(key: ApiKey, _: Organization) -> None:
    keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)
    keys.end_grace(key=key, actor=None)


def delete_organization(_: ApiKey, organization: Organization) -> None:
    organizations.delete(organization=organization, actor=None)


CHANGES: dict[str, tuple[Change, str]] = {
    "scopes": (change_key(scopes=["usage"]), "FORBIDDEN"),
    "networks": (change_key(allowed_ips=["198.51.100.0/24"]), "FORBIDDEN"),
    "budget": (change_key(monthly_credit_budget=Decimal(0)), "BUDGET_EXCEEDED"),
    "disabled": (lambda key, _: keys.disable(key=key, actor=None), "DISABLED"),
    "revoked": (lambda key, _: keys.revoke(key=key, actor=None), "REVOKED"),
    "rotated": (rotate, "EXPIRED"),
    "grace": (rotate_and_end_grace, "EXPIRED"),
    "cap": (reach_cap, "SPEND_CAP_REACHED"),
    "suspended": (suspend, "SUSPENDED"),
    "credits": (use_up_credits, "OUT_OF_CREDITS"),
    "deleted organization": (delete_organization, "REVOKED"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_process_goes_by_a_change_within_a_second(
    asker: Asker, organization_key: Key, organization: Organization, name: str
) -> None:
    key, secret = organization_key
    change, code = CHANGES[name]
    before = [asker.ask(secret, ip="192.0.2.7") for _ in range(3)]

    change(key, organization)
    asker.ask_for_a_second(secret, ip="192.0.2.7")

    assert before == [["VALID"] * SERVERS] * 3
    assert asker.ask(secret, ip="192.0.2.7") == [code] * SERVERS


def test_a_key_switched_on_again_works_within_a_second(asker: Asker, organization_key: Key) -> None:
    key, secret = organization_key
    keys.disable(key=key, actor=None)
    before = asker.ask(secret)

    keys.enable(key=key, actor=None)
    asker.ask_for_a_second(secret)

    assert before == ["DISABLED"] * SERVERS
    assert asker.ask(secret) == ["VALID"] * SERVERS


def test_a_key_expires_although_every_process_knows_it(asker: Asker, organization: Organization) -> None:
    _, secret = keys.create_organization_key(
        organization=organization,
        name="x",
        actor=None,
        expires_at=timezone.now() + timedelta(seconds=2),
    )
    while timezone.now() <= ApiKey.objects.get(name="x").expires_at:  # type: ignore[operator]
        asker.ask(secret)

    assert asker.ask(secret) == ["EXPIRED"] * SERVERS


def test_a_rotated_keys_grace_ends_although_every_process_knows_it(
    asker: Asker, organization_key: Key
) -> None:
    key, old = organization_key
    keys.rotate(key=key, grace=timedelta(seconds=2), actor=None)
    before = asker.ask(old)
    while timezone.now() <= key.previous_expires_at:  # type: ignore[operator]
        asker.ask(old)

    assert before == ["VALID"] * SERVERS
    assert asker.ask(old) == ["EXPIRED"] * SERVERS


def test_the_day_of_the_second_factor_comes_although_every_process_knows_the_key(
    asker: Asker, personal_key: Key, organization: Organization
) -> None:
    day = timezone.now() + timedelta(seconds=2)
    two_factor.require(organization=organization, from_=day, actor=None)
    before = asker.ask(personal_key[1])
    while timezone.now() <= day:
        asker.ask(personal_key[1])

    assert before == ["VALID"] * SERVERS
    assert asker.ask(personal_key[1]) == ["FORBIDDEN"] * SERVERS


def test_the_second_factor_that_is_required_shuts_personal_keys_out_within_a_second(
    asker: Asker, personal_key: Key, organization: Organization
) -> None:
    before = asker.ask(personal_key[1])

    two_factor.require(organization=organization, from_=timezone.now(), actor=None)
    asker.ask_for_a_second(personal_key[1])

    assert before == ["VALID"] * SERVERS
    assert asker.ask(personal_key[1]) == ["FORBIDDEN"] * SERVERS


def test_the_keys_of_a_removed_member_end_within_a_second(
    asker: Asker, admin: User, owner: User, organization: Organization
) -> None:
    _, made = keys.create_organization_key(organization=organization, name="x", actor=Actor(admin))
    _, personal = keys.create_personal_key(user=admin, organization=organization, name="laptop")
    before = asker.ask(made), asker.ask(personal)

    members.remove(membership=organization.memberships.get(user=admin), actor=Actor(owner))
    asker.ask_for_a_second(made)
    asker.ask(personal)

    assert before == (["VALID"] * SERVERS, ["VALID"] * SERVERS)
    assert asker.ask(made) == ["REVOKED"] * SERVERS
    assert set(asker.ask(personal)) <= {"REVOKED", "FORBIDDEN"}


def test_the_personal_key_of_somebody_switched_off_ends_within_a_second(
    asker: Asker, personal_key: Key, owner: User, back_office: Client
) -> None:
    before = asker.ask(personal_key[1])

    form = {"reason": "They asked for it", "_form_submitted": "True"}
    back_office.post(reverse("admin:accounts_user_switch_off", args=[owner.pk]), form)
    asker.ask_for_a_second(personal_key[1])

    assert before == ["VALID"] * SERVERS
    assert asker.ask(personal_key[1]) == ["FORBIDDEN"] * SERVERS


def test_the_personal_key_of_a_deleted_account_ends_within_a_second(
    asker: Asker, member: User, organization: Organization
) -> None:
    _, secret = keys.create_personal_key(user=member, organization=organization, name="laptop")
    before = asker.ask(secret)

    personal_data.delete_account(user=member, actor=Actor(member))
    asker.ask_for_a_second(secret)

    assert before == ["VALID"] * SERVERS
    assert asker.ask(secret) == ["REVOKED"] * SERVERS


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda key: keys.revoke(key=key, actor=None), "401"),
        (lambda key: keys.update(key=key, changes={"scopes": ["gateway:report"]}, actor=None), "403"),
    ],
    ids=["revoked", "scopes"],
)
def test_a_changed_service_key_is_refused_within_a_second(
    asker: Asker, organization_key: Key, service_key: Key, change: Callable[[ApiKey], object], status: str
) -> None:
    before = [asker.ask(organization_key[1]) for _ in range(3)]

    change(service_key[0])
    asker.ask_for_a_second(organization_key[1])

    assert before == [["VALID"] * SERVERS] * 3
    assert asker.ask(organization_key[1]) == [status] * SERVERS


def test_a_process_that_slept_through_a_change_does_not_answer_as_before(
    asker: Asker, servers: dict[int, subprocess.Popen[bytes]], organization_key: Key
) -> None:
    key, secret = organization_key
    before = [asker.ask(secret) for _ in range(3)]
    for server in servers.values():
        os.killpg(server.pid, signal.SIGSTOP)

    keys.revoke(key=key, actor=None)
    time.sleep(CONTRACT)
    for server in servers.values():
        os.killpg(server.pid, signal.SIGCONT)

    assert before == [["VALID"] * SERVERS] * 3
    assert asker.ask(secret) == ["REVOKED"] * SERVERS


def test_no_call_is_lost_when_the_database_drops_its_connections(
    servers: dict[int, subprocess.Popen[bytes]], service_key: Key, organization: Organization
) -> None:
    secrets = [
        keys.create_organization_key(organization=organization, name=f"{number}", actor=None)[1]
        for number in range(200)
    ]
    Entitlement.objects.update(requests_per_minute=1_000_000)

    def ask(some: list[str]) -> set[str]:
        with closing(Asker(list(servers), service_key[1])) as asker:
            return {code for secret in some for code in asker.ask(secret)}

    def ask_at_once() -> set[str]:
        """Each key once, so that all threads of the servers need the database."""
        with ThreadPoolExecutor(8) as pool:
            return set().union(*pool.map(ask, [secrets[number::8] for number in range(8)]))

    before = ask_at_once()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    time.sleep(CONTRACT)

    assert before == {"VALID"}
    assert ask_at_once() == {"VALID"}


def test_a_redis_that_began_anew_is_asked_again(
    asker: Asker, organization_key: Key, clean_redis: redis.Redis
) -> None:
    Entitlement.objects.update(requests_per_minute=10)
    before = asker.ask(organization_key[1])

    mine = clean_redis.client_info()
    clean_redis.flushdb()
    clean_redis.script_flush()
    for client in clean_redis.client_list():
        if client["db"] == mine["db"] and client["id"] != mine["id"]:
            clean_redis.client_kill_filter(_id=client["id"])
    time.sleep(CONTRACT)

    assert before == ["VALID"] * SERVERS
    assert asker.ask(organization_key[1]) == ["VALID"] * SERVERS
    assert clean_redis.keys("limit:*")


def test_a_question_that_comes_in_pieces_is_read_whole(
    servers: dict[int, subprocess.Popen[bytes]], service_key: Key, organization_key: Key
) -> None:
    body = json.dumps({"key": organization_key[1]}).encode()
    head = f"POST {fast_path.PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {service_key[1]}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    answers = []
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", min(servers)), timeout=30) as plain:
            for piece in (head.encode(), body[:9], body[9:]):
                plain.sendall(piece)
                time.sleep(0.1)
            answers.append(b"".join(iter(lambda: plain.recv(65_536), b"")))

    assert [b'"code":"VALID"' in answer for answer in answers] == [True] * 3


def test_one_who_is_refused_again_and_again_hears_it_each_time(
    servers: dict[int, subprocess.Popen[bytes]], organization_key: Key
) -> None:
    """The server cuts a connection of which it read no body, and says so: the next call is not lost on it."""
    with closing(Asker(list(servers), "ch_service_nobody")) as asker:
        answers = {code for _ in range(100) for code in asker.ask(organization_key[1])}

    assert answers == {"401"}
