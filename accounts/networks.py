"""Networks that a key may be used from: kept in one form, whatever form people write them in."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def normalise(text: str) -> str:
    """An address or network as CIDR, with the bits beyond its length cleared. Raises ValueError for anything else."""
    return str(_network(text.strip()))


def is_address(text: str) -> bool:
    """Whether it is one IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def contain(networks: Iterable[str], ip: str | None) -> bool:
    """Whether one of these networks contains the address. No address is nowhere."""
    if ip is None:
        return False
    address = _plain(ip)
    return any(address in _network(text) for text in networks)


@lru_cache(maxsize=4096)
def _network(text: str) -> Network:
    network = ip_network(text, strict=False)
    # An IPv4 address written as IPv6 is the same machine.
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ip_network(f"{mapped}/{network.prefixlen - 96}")
    if isinstance(network, IPv6Network) and network.network_address.scope_id:
        raise ValueError("A zone means something on one machine only.")
    return network


def _plain(ip: str) -> IPv4Address | IPv6Address:
    address = ip_address(ip.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
