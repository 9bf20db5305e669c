"""No webhook reaches an address that is not public, however the URL spells it."""

import contextlib
import gzip
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings

from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks.embedded import delivery
from webhooks.embedded.egress import BLOCKED, may_reach
from webhooks.models import Attempt

NON_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]

HOSTILE_URLS = [
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127.0.0.1%2f@x:{port}/",
    "http://user:pass@127.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://169.254.169.254:{port}/latest/meta-data/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "http:///",
]


@pytest.mark.parametrize("address", NON_PUBLIC)
@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_what_is_not_public_is_not_reached(address: str) -> None:
    assert not may_reach(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111"])
@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_public_addresses_are(address: str) -> None:
    assert may_reach(address)


@override_settings(WEBHOOK_ALLOWED_NETWORKS=["10.0.0.0/8"])
def test_a_network_is_opened_by_the_setting_alone() -> None:
    assert may_reach("10.1.2.3")
    assert may_reach("::ffff:10.1.2.3")
    assert not may_reach("127.0.0.1")


@pytest.mark.parametrize("url", HOSTILE_URLS)
@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_no_spelling_reaches_loopback(url: str, send: Callable[..., None], receiver: Receiver) -> None:
    send(url=url.format(port=receiver.url.rstrip("/").rpartition(":")[2]))

    deliver()

    assert receiver.arrivals == []
    assert Attempt.objects.get().status_code == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1", "127.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_a_name_is_judged_by_what_it_resolves_to(
    addresses: list[str],
    send: Callable[..., None],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    send(url=receiver.url.replace("127.0.0.1", "innocent.example.com"))

    deliver()

    assert receiver.arrivals == []
    assert Attempt.objects.get().response == BLOCKED


@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_every_refusal_reads_the_same(send: Callable[..., None], receiver: Receiver) -> None:
    for url in (receiver.url, "http://127.0.0.1:9/", "https://10.0.0.1/", "http://[fd00::1]:8080/"):
        send(url=url)

    deliver()

    assert set(Attempt.objects.values_list("response", flat=True)) == {BLOCKED}


@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_a_name_that_changes_between_two_look_ups_is_judged_each_time(
    send: Callable[..., None], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["93.184.216.34", "127.0.0.1"]

    def resolve(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(delivery, "TIMEOUT", 0.3)
    send(url=receiver.url.replace("127.0.0.1", "rebinding.example.com"))

    for _ in range(2):
        deliver()
        let_time_pass()

    assert receiver.arrivals == []
    assert answers == []
    assert Attempt.objects.latest("timestamp").response == BLOCKED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int, send: Callable[..., None], receiver: Receiver) -> None:
    send(url=receiver.url)
    receiver.answer(status, headers={"location": f"{receiver.url}private"})

    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/"]
    assert Attempt.objects.get().status_code == status


HEAD = b"HTTP/1.1 200 OK\r\n"


def _drip(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.05)


def _drip_headers(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    for number in range(100):
        connection.sendall(b"x-%d: x\r\n" % number)
        time.sleep(0.05)


def _body_without_end(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def _headers_without_end(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    while True:
        connection.sendall(b"x-header: x\r\n" * 1000)


def _header_without_end(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"x-header: ")
    while True:
        connection.sendall(b"x" * 0x10000)


def _bomb(connection: socket.socket) -> None:
    body = gzip.compress(b"x" * 10_000_000)
    connection.sendall(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


@pytest.fixture
def hostile() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Have a receiver behave in some way towards each connection, and return its URL."""
    stack = contextlib.ExitStack()

    def serve(behave: Callable[[socket.socket], None]) -> str:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self.request.recv(65_536)
                    behave(self.request)

        server = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        stack.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    with stack:
        yield serve


@pytest.mark.parametrize(
    ("behave", "status"),
    [
        (_drip, 0),
        (_drip_headers, 0),
        (_body_without_end, 200),
        (_headers_without_end, 0),
        (_header_without_end, 0),
        (_bomb, 200),
    ],
)
def test_no_answer_holds_a_worker_longer_than_its_timeout_or_fills_it(
    behave: Callable[[socket.socket], None],
    status: int,
    hostile: Callable[..., str],
    send: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT", 0.5)
    send(url=hostile(behave))

    deliver()

    attempt = Attempt.objects.get()
    assert attempt.status_code == status
    assert attempt.duration_ms < 3_000
    assert len(attempt.response) <= 4 * delivery.LONGEST_RESPONSE
