import pytest

from accounts import networks


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        (" 203.0.113.77/24 ", "203.0.113.0/24"),
        ("203.0.113.0/255.255.255.0", "203.0.113.0/24"),
        ("2001:DB8:0::1", "2001:db8::1/128"),
        ("2001:db8::/33", "2001:db8::/33"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:203.0.113.7/120", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_kept_in_one_form(text: str, kept: str) -> None:
    assert networks.normalise(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "here",
        "203.0.113",
        "203.0.113.07",
        "203.0.113.7/33",
        "::/129",
        "fe80::1%eth0",
        "٢.0.0.1",
        "1.2.3.4\0",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        networks.normalise(text)


@pytest.mark.parametrize(
    ("ip", "inside"),
    [
        ("203.0.113.255", True),
        ("203.0.114.0", False),
        ("::ffff:203.0.113.7", True),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        (None, False),
    ],
)
def test_an_address_lies_in_one_of_them(ip: str | None, inside: bool) -> None:
    assert networks.contain(["203.0.113.0/24", "2001:db8::/32"], ip) == inside
