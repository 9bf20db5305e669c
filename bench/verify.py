"""Keys verified a second over HTTP, and how long a call takes.

In the same server, granian with one process: a WSGI application that does nothing, a Django and a DRF view that do
nothing, and the two packages that a project would otherwise take, djangorestframework-api-key with DRF's throttle and
django-rest-knox. The peers have a short list of middleware, and the throttle counts in Redis, as ours does. Medians of
the rounds, which take turns on one machine.
"""

import argparse
import json
from collections import defaultdict
from decimal import Decimal

from bench._load import Pace, load, median_of, milliseconds, post
from bench._system import line, server, system

LARGE, SMALL = 100, 1_000  # organizations
PER_MINUTE_LARGE, PER_MINUTE_SMALL = 100_000_000, 190  # leased by the hundredth, and one by one in Redis
VERIFY = "/api/v1/gateway/verify"

# The ratios we mean to keep; every run says whether they are reached.
NOOP_GOAL, API_KEY_GOAL, KNOX_GOAL = 0.6, 30.0, 40.0
TAIL_GOAL = 0.5  # of the no-op's p99 to ours
SMALL_GOAL, UNKNOWN_GOAL = 8.0, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each in each round")
    options = parser.parse_args()
    with system("bench.peer.settings"):
        measure(options.rounds, options.seconds)


def measure(rounds: int, seconds: float) -> None:
    service_key = make_service_key()
    large, small = make_keys("large", LARGE), make_keys("small", SMALL)
    bearer = f"Bearer {service_key}"
    ours = {
        "noop": ([post("/noop", question(large[0]), bearer)], "{}"),
        "large": ([post(VERIFY, question(key), bearer) for key in large], '"code":"VALID"'),
        "small": ([post(VERIFY, question(key), bearer) for key in small], '"code":"VALID"'),
    }
    api_key, token = make_peers_keys()
    analyze()
    theirs = {
        "django": ([post("/noop-django", b"{}", "")], "{}"),
        "drf": ([post("/noop-drf", b"{}", "")], "{}"),
        "api-key": ([post("/api-key", b"{}", f"Api-Key {api_key}")], "{}"),
        "knox": ([post("/knox", b"{}", f"Token {token}")], "{}"),
    }
    paces: dict[str, list[Pace]] = defaultdict(list)
    with (
        server("config.settings", application="bench.peer.noop:application") as product,
        server("config.settings", application="bench.peer.unkept:application") as unkept,
        server("bench.peer.settings") as peers,
    ):
        cases = [(name, product, *case) for name, case in ours.items()]
        cases += [("read", unkept, *ours["large"])]
        cases += [(name, peers, *case) for name, case in theirs.items()]
        # Not measured: first requests, which import modules and prepare statements.
        for _, port, requests, expect in cases:
            load(port, requests, seconds=1, expect=expect)
        for _ in range(rounds):
            for name, port, requests, expect in cases:
                paces[name].append(load(port, requests, seconds=seconds, expect=expect))
    report({name: median_of(each) for name, each in paces.items()})


def question(key: str) -> bytes:
    return json.dumps({"key": key, "product": "parse", "cost": 4, "ip": "192.0.2.7"}).encode()


def make_service_key() -> str:
    from accounts import keys

    return keys.create_service_key(name="bench")[1]


def make_keys(name: str, organizations: int) -> list[str]:
    """A key of each of so many organizations."""
    from accounts import keys
    from accounts import organizations as domain
    from accounts.audit import Actor
    from accounts.models import User
    from usage.models import Entitlement

    made = []
    for number in range(organizations):
        owner = User.objects.create_user(f"{name}-{number}@example.com")
        organization = domain.create(name=f"{name} {number}", owner=owner)
        made.append(keys.create_organization_key(organization=organization, name="x", actor=Actor(owner))[1])
    Entitlement.objects.filter(organization__name__startswith=name).update(
        requests_per_minute={"large": PER_MINUTE_LARGE, "small": PER_MINUTE_SMALL}[name],
        credits_ceiling=Decimal(1_000_000),
    )
    return made


def make_peers_keys() -> tuple[str, str]:
    from knox.models import AuthToken
    from rest_framework_api_key.models import APIKey

    from accounts.models import User

    user = User.objects.create_user("knox@example.com")
    return APIKey.objects.create_key(name="bench")[1], AuthToken.objects.create(user=user)[1]


def analyze() -> None:
    """What the database does by itself once it has had a quiet minute."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def report(found: dict[str, Pace]) -> None:
    def show(name: str, words: str, *goals: tuple[str, str, float]) -> None:
        pace = found[name]
        line(words, f"{pace.rate:,.0f}", note=milliseconds(pace))
        for other, text, goal in goals:
            line(f"  {text}", "", pace.rate / found[other].rate, goal)

    print(f"Keys verified a second, {LARGE + SMALL:,} keys, one server process with 4 threads")
    show("noop", "WSGI that does nothing")
    show(
        "large",
        "verify, known keys of large plans",
        ("noop", "of WSGI that does nothing", NOOP_GOAL),
        ("api-key", "times djangorestframework-api-key", API_KEY_GOAL),
        ("knox", "times django-rest-knox", KNOX_GOAL),
    )
    line("  p99 of WSGI that does nothing, to ours", "", found["noop"].p99 / found["large"].p99, TAIL_GOAL)
    for name, words, goal in (
        ("small", "verify, known keys of small plans", SMALL_GOAL),
        ("read", "verify, read from the database", UNKNOWN_GOAL),
    ):
        show(
            name,
            words,
            ("api-key", "times djangorestframework-api-key", goal),
            ("knox", "times django-rest-knox", goal),
        )
    show("django", "Django view that does nothing")
    show("drf", "DRF view that does nothing")
    show("api-key", "djangorestframework-api-key and a throttle")
    show("knox", "django-rest-knox")


if __name__ == "__main__":
    main()
