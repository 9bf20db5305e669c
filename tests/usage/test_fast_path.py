"""Verify ahead of Django: the same answers, by the same rules, and everything unusual left to the view."""

import gzip
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.db import OperationalError, close_old_connections
from django.test import RequestFactory
from django.urls import reverse
from pytest_django import Settings

from accounts import keys, prepared
from accounts.models import ApiKey, Organization
from usage import fast_path, known_keys
from usage.models import Entitlement

Key = tuple[ApiKey, str]


@pytest.fixture(autouse=True)
def knowing_nothing() -> None:
    known_keys.forget()
    fast_path.forget()


@pytest.fixture(autouse=True)
def inside_the_tests_transaction() -> Iterator[None]:
    """Connections stay open: the test's own holds what it has not committed."""
    request_started.disconnect(close_old_connections)
    yield
    request_started.connect(close_old_connections)


class Server:
    """Verify as a web server would call it. `handed_on` counts the calls that came to Django."""

    def __init__(self, service_key: str) -> None:
        self.service_key = service_key
        self.handed_on = 0
        self._django = WSGIHandler()
        self._application = fast_path.ahead_of(self._count)

    def _count(self, *arguments: Any) -> Any:
        self.handed_on += 1
        return self._django(*arguments)

    def ask(self, body: bytes | str, **environ: Any) -> tuple[str, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        return self._call(self._application, body, environ)

    def ask_django(self, body: bytes | str, **environ: Any) -> tuple[str, dict[str, str], bytes]:
        """The same of the view itself."""
        return self._call(self._django, body, environ)

    def _call(
        self, application: Any, body: bytes | str, environ: dict[str, Any]
    ) -> tuple[str, dict[str, str], bytes]:
        said: list[Any] = []
        body = body.encode() if isinstance(body, str) else body
        request = RequestFactory().post(fast_path.PATH, body, content_type="application/json")
        called = request.environ | {
            "HTTP_AUTHORIZATION": f"Bearer {self.service_key}",
            "HTTP_HOST": "localhost",
            "wsgi.input": BytesIO(body),
        }
        called = {name: value for name, value in (called | environ).items() if value is not None}
        answer = application(called, lambda *arguments: said.extend(arguments))
        headers = {name: value for name, value in said[1] if name != "X-Request-ID"}  # each has its own
        return said[0], headers, b"".join(answer)


@pytest.fixture
def server(service_key: Key) -> Server:
    return Server(service_key[1])


@pytest.fixture
def question(organization_key: Key) -> str:
    return json.dumps({"key": organization_key[1]})


def test_it_answers_at_the_views_address() -> None:
    assert reverse("gateway-verify") == fast_path.PATH


def test_django_answers_once_and_then_nobody_asks_it(server: Server, question: str) -> None:
    codes = [json.loads(server.ask(question)[2])["code"] for _ in range(5)]

    assert codes == ["VALID"] * 5
    assert server.handed_on == 1


def test_no_answer_bears_the_id_of_another_request(server: Server, question: str) -> None:
    server.ask(question)

    [taken] = fast_path._taken.values()

    assert "X-Request-ID" not in dict(taken)


def test_a_key_that_nobody_asked_about_yet_is_read_without_django(
    server: Server, question: str, organization: Organization
) -> None:
    server.ask(question)
    _, other = keys.create_organization_key(organization=organization, name="x", actor=None)

    codes = [json.loads(server.ask(json.dumps({"key": other}))[2])["code"] for _ in range(2)]

    assert codes == ["VALID"] * 2
    assert server.handed_on == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"may_call": False},
        {"credits_ceiling": 100, "credits_used": "99.5"},
        {"credits_ceiling": 100, "credits_used": 200},
        {"credits_ceiling": None},
        {"requests_per_minute": 0},
    ],
)
def test_its_answer_is_the_views_byte_for_byte(
    server: Server, question: str, fields: dict[str, Any], redis_down: None
) -> None:
    Entitlement.objects.update(**fields)
    server.ask(question)

    def told(answer: tuple[str, dict[str, str], bytes]) -> tuple[str, dict[str, str], bytes]:
        status, headers, body = answer
        reset = json.loads(body)["rate_limit"]["reset"]  # a clock goes on between the two
        return status, headers, body.replace(f'"reset":{reset}'.encode(), b"")

    assert told(server.ask(question)) == told(server.ask_django(question))
    assert server.handed_on == 1


def test_limits_count_ahead_of_django_as_in_it(server: Server, question: str) -> None:
    answers = [json.loads(server.ask(question)[2]) for _ in range(12)]

    assert [answer["code"] for answer in answers] == ["VALID"] * 10 + ["RATE_LIMITED"] * 2
    assert [answer["rate_limit"]["remaining"] for answer in answers[:10]] == list(range(9, -1, -1))


def test_cost_and_address_are_checked_at_each_call(server: Server, organization: Organization) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="x", actor=None, allowed_ips=["192.0.2.0/24"]
    )

    def code(**fields: Any) -> str:
        return json.loads(server.ask(json.dumps({"key": secret, **fields}))[2])["code"]

    codes = [code(ip="192.0.2.7"), code(), code(ip="192.0.3.7"), code(ip="192.0.2.7", cost=101)]

    assert codes == ["VALID", "FORBIDDEN", "FORBIDDEN", "OUT_OF_CREDITS"]
    assert server.handed_on == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": None},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "٤"},
        {"CONTENT_LENGTH": "999999999999999999999"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_CONTENT_ENCODING": "br"},
        {"HTTP_COOKIE": "sessionid=x"},
        {"QUERY_STRING": "a=b"},
        {"REQUEST_METHOD": "GET"},
        {"REQUEST_METHOD": "PUT"},
        {"PATH_INFO": "/api/v1/gateway/verify/"},
        {"PATH_INFO": "/healthz"},
        {"HTTP_AUTHORIZATION": None},
        {"HTTP_AUTHORIZATION": "Bearer ch_service_unknown"},
        {"HTTP_AUTHORIZATION": "Basic \udcff"},
    ],
)
def test_what_is_unusual_is_left_to_django(server: Server, question: str, environ: dict[str, Any]) -> None:
    for _ in range(2):
        server.ask(question)

    answer = server.ask(question, **environ)

    assert server.handed_on == 2
    assert answer[0] == server.ask_django(question, **environ)[0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", "400 Bad Request"),
        ("[]", "400 Bad Request"),
        ('{"key": 5}', "400 Bad Request"),
        (b'{"key": "\xff"}', "400 Bad Request"),
        ("[" * 10_000, "400 Bad Request"),
        ('{"key": "KEY", "cost": -1}', "400 Bad Request"),
        ('{"key": "KEY", "product": "paint"}', "400 Bad Request"),
        ('{"key": "KEY", "ip": "here"}', "400 Bad Request"),
        (json.dumps({"key": "k" * 17_000}), "413 Request Entity Too Large"),
    ],
)
def test_django_still_reads_the_whole_body_of_what_it_is_left(
    server: Server, organization_key: Key, question: str, body: bytes | str, status: str
) -> None:
    body = body.replace("KEY", organization_key[1]) if isinstance(body, str) else body
    for _ in range(2):
        server.ask(question)

    answer = server.ask(body)

    assert answer == server.ask_django(body)
    assert answer[0] == status
    assert server.handed_on == 2


@pytest.mark.parametrize("key", ["", "unknown", "sk_live_imported_later", "é\0", "ch_production_" + "0" * 38])
def test_an_unknown_key_is_answered_ahead_of_django_as_by_it(server: Server, question: str, key: str) -> None:
    server.ask(question)

    answer = server.ask(json.dumps({"key": key}))

    assert json.loads(answer[2])["code"] == "NOT_FOUND"
    assert answer == server.ask_django(json.dumps({"key": key}))
    assert server.handed_on == 1


def test_a_compressed_question_is_understood(server: Server, question: str) -> None:
    for _ in range(2):
        answer = server.ask(gzip.compress(question.encode()), HTTP_CONTENT_ENCODING="gzip")

    assert json.loads(answer[2])["code"] == "VALID"
    assert server.handed_on == 2


def test_a_host_that_is_not_ours_is_refused_whatever_is_known(
    server: Server, question: str, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    for _ in range(2):
        server.ask(question)

    statuses = {server.ask(question, HTTP_HOST="evil.example")[0] for _ in range(3)}

    assert statuses == {"400 Bad Request"}


def test_a_call_without_https_is_sent_there_whatever_is_known(
    server: Server, question: str, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = 60
    server = Server(server.service_key)
    secure = [server.ask(question, HTTP_X_FORWARDED_PROTO="https") for _ in range(2)]

    plain = [server.ask(question, HTTP_X_FORWARDED_PROTO=proto)[0] for proto in ("http", None, "http")]

    assert [answer[0] for answer in secure] == ["200 OK"] * 2
    assert secure[1][1]["Strict-Transport-Security"] == "max-age=60"
    assert plain == ["301 Moved Permanently"] * 3


def test_a_body_is_not_waited_for_without_a_service_key(server: Server, question: str) -> None:
    server.ask(question)
    body = BytesIO(question.encode())

    answer = server.ask(question, **{"HTTP_AUTHORIZATION": "Bearer x", "wsgi.input": body})

    assert (answer[0], body.tell()) == ("401 Unauthorized", 0)


def test_a_service_key_without_the_scope_is_refused(server: Server, question: str) -> None:
    server.ask(question)
    _, reporting = keys.create_service_key(name="reports", scopes=["gateway:report"])

    statuses = {server.ask(question, HTTP_AUTHORIZATION=f"Bearer {reporting}")[0] for _ in range(3)}

    assert statuses == {"403 Forbidden"}


def test_a_customers_key_asks_about_no_other(server: Server, question: str, organization_key: Key) -> None:
    server.ask(question)

    statuses = {server.ask(question, HTTP_AUTHORIZATION=f"Bearer {organization_key[1]}")[0] for _ in range(3)}

    assert statuses == {"403 Forbidden"}


def test_it_does_not_collect_addresses_without_end(
    server: Server, question: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setattr(fast_path, "_MOST_ADDRESSES", 3)

    for number in range(5):
        assert server.ask(question, HTTP_HOST=f"{number}.example")[0] == "200 OK"

    assert len(fast_path._taken) == 3


def test_when_the_database_is_away_what_is_known_serves_for_a_moment_and_then_it_is_said(
    server: Server, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        server.ask(question)

    def refuse(*_: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(prepared, "fetch", refuse)
    at_once = server.ask(question)[0]
    monkeypatch.setattr(known_keys, "BELIEVED", -1.0)

    assert (at_once, server.ask(question)[0]) == ("200 OK", "503 Service Unavailable")


def test_a_key_that_cannot_be_read_now_is_left_to_django(
    server: Server, question: str, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ask(question)
    _, other = keys.create_organization_key(organization=organization, name="x", actor=None)

    def refuse(*_: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(prepared, "fetch", refuse)

    assert server.ask(json.dumps({"key": other}))[0] == "503 Service Unavailable"
    assert server.handed_on == 2


def test_the_products_server_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("freeze", "set_threshold"):
        monkeypatch.setattr(f"gc.{step}", lambda *_: None)

    from config import wsgi

    assert wsgi.application is not wsgi.django_application


def test_a_call_ahead_of_django_notes_the_keys_use(
    server: Server, question: str, organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ask(question)
    noted: list[int] = []
    monkeypatch.setattr("accounts.last_used.note", noted.append)

    server.ask(question)

    assert noted == [organization_key[0].pk]
