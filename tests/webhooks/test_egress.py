"""No webhook reaches an address that is not public, however the URL spells it."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings

from tests.webhooks.conftest import Receiver, deliver
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
