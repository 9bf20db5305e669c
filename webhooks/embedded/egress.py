"""Where webhooks may go: only to public addresses, judged by the address that is about to be dialled.

A name is judged after it is resolved, and each of its addresses by itself, so neither the spelling of a URL nor a
name that changes its mind between two look-ups reaches a private network.
"""

import errno
import ipaddress
import re
import socket
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from django.conf import settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# One sentence for every refusal: which address it was, or what answers there, is not the customer's to learn.
BLOCKED = "Blocked: the URL does not lead to a public address."

NOT_A_URL = "Must be an http or https URL."
# It would be shown and recorded wherever the URL is, and every message is signed anyway.
NO_CREDENTIALS = "Must not contain a user name or password."

# Seconds for which a connection is kept for the next request: less than common servers keep theirs, for a request
# that meets a closed one fails.
KEEP_ALIVE = 1.5

_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f]")

# Besides what the ipaddress module does not call global: its idea of that differs between Python versions, and
# some of these reach a private address by way of a gateway.
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "100.64.0.0/10",  # carriers' shared addresses
            "192.0.0.0/24",
            "192.0.2.0/24",  # documentation, as are the next two of v4 and 2001:db8::, 3fff::
            "198.51.100.0/24",
            "203.0.113.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",  # benchmarks
            "240.0.0.0/4",
            "::/96",  # v4-compatible
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",
            "100::/64",  # discard
            "2001::/23",  # Teredo and its neighbours
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "3fff::/20",
            "5f00::/16",  # segment routing
            "fc00::/7",  # unique local
            "fec0::/10",  # site local
        ),
    )
)


class Blocked(OSError):
    """The address is not one that webhooks may reach."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, BLOCKED)


def url_problem(text: str) -> str:
    """Say what keeps this text from being a URL that webhooks go to; nothing if it is one by its form."""
    if _NOT_IN_URLS.search(text):
        return NOT_A_URL
    try:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return NOT_A_URL
    except ValueError:
        return NOT_A_URL
    return NO_CREDENTIALS if parts.username is not None else ""


def may_reach(address: str) -> bool:
    """Say whether webhooks may go to this IP address, which may carry an IPv6 zone."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if any(ip in network for network in _allowed(tuple(settings.WEBHOOK_ALLOWED_NETWORKS))):
        return True
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NEVER)


def open_session(*, timeout: float) -> aiohttp.ClientSession:
    """Return a session that dials only where webhooks may go, and keeps no cookies and connections only briefly.

    `timeout` is in seconds, for a whole request. Call it while the event loop runs.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=_guarded_socket, limit=0, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout),
        trust_env=False,
        auto_decompress=False,
    )


def explain(error: BaseException) -> str:
    """Return what the customer is told about a request that had no answer."""
    if BLOCKED in str(error):  # also where the library has wrapped it, or several of them
        return BLOCKED
    if isinstance(error, TimeoutError):
        return "Timed out."
    return str(error) or type(error).__name__


def _guarded_socket(address_info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = address_info
    if not may_reach(address[0]):
        raise Blocked
    guarded = socket.socket(family, kind, protocol)
    guarded.setblocking(False)
    return guarded


@cache
def _allowed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, networks))
