"""Keys by REST: made, listed, changed, rotated, switched and revoked, by whom and within what."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import keys
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Organization, User
from accounts.permissions import Scope

URL = "/api/v1/api-keys"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
Json = dict[str, Any]
Key = tuple[ApiKey, str]
Ask = Callable[..., tuple[int, Json]]


def ask(client: Client, method: str, url: str, body: Any = None, *, secret: str = "") -> tuple[int, Json]:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    send = getattr(client, method)
    options: Json = {"headers": headers}
    if body is not None:
        options |= {"data": body, "content_type": "application/json"}
    response = send(url, **options)
    return response.status_code, response.json() if response.content else {}


@pytest.fixture
def as_owner(client: Client, owner: User, organization: Organization) -> Ask:
    client.force_login(owner)
    return lambda *args: ask(client, *args)


def signed_in(user: User) -> Ask:
    client = Client()
    client.force_login(user)
    return lambda *args: ask(client, *args)


def manager_key(organization: Organization, maker: User, scopes: list[str] | None = None) -> str:
    """The secret of an organization's key that may manage keys."""
    return keys.create_organization_key(
        organization=organization, name="robot", actor=Actor(maker), scopes=scopes or ["api_keys", "jobs"]
    )[1]


# ── Making ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_made_key_works_and_is_shown_once(as_owner: Ask, owner: User) -> None:
    status, made = as_owner("post", URL, {"name": " checkout ", "environment": "staging"})

    secret = made.pop("key")
    assert status == 201
    assert usable_key(secret) == ApiKey.objects.get(uid=made["id"])
    assert (made["name"], made["state"], made["scopes"]) == (
        "checkout",
        "active",
        ["jobs", "usage", "webhooks"],
    )
    assert secret.startswith(made["prefix"]) and secret.endswith(made["last_four"])
    assert made["created_by"]["id"] == owner.uid
    assert as_owner("get", f"{URL}/{made['id']}") == (200, made)


def test_the_answer_with_the_secret_is_not_kept_by_caches(
    client: Client, owner: User, organization: Organization
) -> None:
    client.force_login(owner)

    response = client.post(URL, {"name": "k"}, content_type="application/json")

    assert response["Cache-Control"] == "no-store"


def test_limits_are_kept_in_one_form(as_owner: Ask) -> None:
    with time_machine.travel(NOW, tick=False):
        _, made = as_owner(
            "post",
            URL,
            {
                "name": "k",
                "scopes": ["webhooks", "jobs", "jobs"],
                "expires_at": "2027-01-01T02:00:00+02:00",
                "allowed_ips": ["203.0.113.9/24", " 2001:DB8::1 ", "::ffff:192.0.2.1", "203.0.113.0/24"],
                "requests_per_minute": 60,
                "monthly_credit_budget": 12.5,
            },
        )

    assert made["scopes"] == ["jobs", "webhooks"]
    assert made["expires_at"] == "2027-01-01T00:00:00.000000Z"
    assert made["allowed_ips"] == ["203.0.113.0/24", "2001:db8::1/128", "192.0.2.1/32"]
    assert (made["requests_per_minute"], made["monthly_credit_budget"]) == (60, 12.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", "  "),
        ("name", "x" * 81),
        ("name", "nul\0"),
        ("name", "two\nlines"),
        ("name", "‮evil"),
        ("name", ["list"]),
        ("name", {"a": 1}),
        ("kind", "service"),
        ("kind", ["personal"]),
        ("environment", "moon"),
        ("environment", {}),
        ("scopes", []),
        ("scopes", "jobs"),
        ("scopes", ["gateway:verify"]),
        ("scopes", ["nul\0"]),
        ("scopes", [["jobs"]]),
        ("scopes", ["jobs"] * 51),
        ("expires_at", "soon"),
        ("expires_at", "2020-01-01T00:00:00Z"),
        ("expires_at", "2036-11-30T00:00:00Z"),
        ("expires_at", "9999-12-31T23:59:59-23:00"),
        ("expires_at", 10**40),
        ("allowed_ips", "203.0.113.7"),
        ("allowed_ips", ["here"]),
        ("allowed_ips", ["203.0.113.7/33"]),
        ("environment", "\ud800"),
        ("allowed_ips", ["fe80::1%eth0"]),
        ("allowed_ips", ["203.0.113.7\0"]),
        ("allowed_ips", [16909060]),
        ("allowed_ips", ["2001:db8::/129"]),
        ("allowed_ips", [f"203.0.{n // 256}.{n % 256}" for n in range(101)]),
        ("requests_per_minute", 0),
        ("requests_per_minute", -1),
        ("requests_per_minute", 10**30),
        ("requests_per_minute", "many"),
        ("requests_per_minute", 1.5),
        ("monthly_credit_budget", -1),
        ("monthly_credit_budget", 10**30),
        ("monthly_credit_budget", "NaN"),
        ("monthly_credit_budget", "Infinity"),
        ("monthly_credit_budget", 0.0000001),
        ("monthly_credit_budget", []),
    ],
)
def test_a_bad_value_is_refused_by_name_and_changes_nothing(
    as_owner: Ask, organization_key: Key, field: str, value: object
) -> None:
    with time_machine.travel(NOW, tick=False):
        status, made = as_owner("post", URL, {"name": "k", field: value})

    assert status == 400, made
    assert made["error"]["param"] == field
    assert ApiKey.objects.count() == 1

    if field not in ("kind", "environment"):
        with time_machine.travel(NOW, tick=False):
            status, changed = as_owner("patch", f"{URL}/{organization_key[0].uid}", {field: value})
        assert (status, changed["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    "body", ["[]", '"x"', "5", "null", "{", '{"name": "k", "requests_per_minute": 1e999}']
)
def test_a_body_that_is_no_object_is_refused(as_owner: Ask, body: str) -> None:
    status, _ = as_owner("post", URL, body)

    assert status == 400


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_organization_keys_are_made_by_those_who_manage_them(
    request: pytest.FixtureRequest, role: str
) -> None:
    asking = signed_in(request.getfixturevalue(role))

    status, _ = asking("post", URL, {"name": "k"})

    assert status == 403
    assert not ApiKey.objects.exists()


def test_an_organization_can_keep_its_keys_to_the_owner(admin: User, owner: User) -> None:
    Organization.objects.update(only_owner_manages_keys=True)

    assert signed_in(admin)("post", URL, {"name": "k"})[0] == 403
    assert signed_in(owner)("post", URL, {"name": "k"})[0] == 201


def test_everybody_makes_personal_keys(viewer: User, organization: Organization) -> None:
    status, made = signed_in(viewer)("post", URL, {"name": "laptop", "kind": "personal"})

    key = ApiKey.objects.get(uid=made["id"])
    assert (status, key.user, key.organization) == (201, viewer, organization)


def test_an_organizations_key_has_no_personal_ones(
    client: Client, organization: Organization, owner: User
) -> None:
    secret = manager_key(organization, owner)

    made, _ = ask(client, "post", URL, {"name": "k", "kind": "personal", "scopes": ["jobs"]}, secret=secret)
    listed, _ = ask(client, "get", f"{URL}?kind=personal", secret=secret)

    assert (made, listed) == (403, 403)


# ── What may be given ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope not in ("api_keys", "jobs")])
def test_a_key_gives_no_scope_that_it_lacks(
    client: Client, organization: Organization, owner: User, scope: str
) -> None:
    secret = manager_key(organization, owner)

    status, refusal = ask(client, "post", URL, {"name": "k", "scopes": ["jobs", scope]}, secret=secret)

    assert (status, refusal["error"]["param"]) == (400, "scopes")


def test_a_key_gives_the_scopes_that_it_has(client: Client, organization: Organization, owner: User) -> None:
    secret = manager_key(organization, owner)

    status, made = ask(client, "post", URL, {"name": "k", "scopes": ["jobs", "api_keys"]}, secret=secret)

    assert status == 201
    assert ApiKey.objects.get(uid=made["id"]).created_by == owner
    assert AuditEntry.objects.latest("pk").actor_name.startswith("robot")


def test_a_key_that_the_system_made_gives_no_more_than_its_scopes(
    client: Client, organization: Organization
) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="robot", actor=None, scopes=["api_keys", "jobs"]
    )

    allowed, _ = ask(client, "post", URL, {"name": "k", "scopes": ["jobs"]}, secret=secret)
    refused, _ = ask(client, "post", URL, {"name": "k", "scopes": ["billing"]}, secret=secret)

    assert (allowed, refused) == (201, 400)


def test_a_person_gives_no_scope_in_which_they_may_do_nothing(admin: User, viewer: User) -> None:
    assert signed_in(admin)("post", URL, {"name": "k", "scopes": ["ownership"]})[0] == 400
    assert signed_in(viewer)("post", URL, {"name": "k", "kind": "personal", "scopes": ["audit"]})[0] == 400


def test_nobody_adds_scopes_beyond_themselves_to_the_key_of_somebody_higher(
    admin: User, organization_key: Key
) -> None:
    url = f"{URL}/{organization_key[0].uid}"

    refused, refusal = signed_in(admin)("patch", url, {"scopes": ["jobs", "ownership"]})
    allowed, _ = signed_in(admin)("patch", url, {"scopes": ["jobs"]})

    assert (refused, refusal["error"]["param"], allowed) == (400, "scopes", 200)


def test_nobody_is_given_the_secret_of_a_key_that_may_do_more(
    client: Client, admin: User, owner: User, organization: Organization
) -> None:
    powerful, _ = keys.create_organization_key(
        organization=organization, name="closing", actor=Actor(owner), scopes=["jobs", "ownership"]
    )
    url = f"{URL}/{powerful.uid}/rotate"

    assert signed_in(admin)("post", url, {})[0] == 403
    assert ask(client, "post", url, {}, secret=manager_key(organization, owner))[0] == 403
    assert signed_in(owner)("post", url, {})[0] == 200


def test_a_personal_key_is_not_given_the_secret_of_one_with_other_scopes(
    client: Client, owner: User, organization: Organization, personal_key: Key
) -> None:
    _, secret = keys.create_personal_key(user=owner, organization=organization, name="k", scopes=["api_keys"])

    status, _ = ask(client, "post", f"{URL}/{personal_key[0].uid}/rotate", {}, secret=secret)

    assert status == 403


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_is_newest_first_and_has_neither_secrets_nor_others_keys(
    as_owner: Ask,
    organization: Organization,
    personal_key: Key,
    other_organization: Organization,
    outsider: User,
) -> None:
    keys.create_organization_key(organization=other_organization, name="foreign", actor=Actor(outsider))
    for name in ("first", "second"):
        keys.create_organization_key(organization=organization, name=name, actor=None)

    status, page = as_owner("get", URL)

    assert status == 200
    assert [key["name"] for key in page["data"]] == ["second", "first"]
    assert not {"key", "secret_hash"} & page["data"][0].keys()


def test_personal_keys_are_listed_to_their_owner_only(as_owner: Ask, admin: User, personal_key: Key) -> None:
    _, own = as_owner("get", f"{URL}?kind=personal")
    _, others = signed_in(admin)("get", f"{URL}?kind=personal")

    assert [key["id"] for key in own["data"]] == [personal_key[0].uid]
    assert others["data"] == []


def test_filters_and_pages(as_owner: Ask, organization: Organization) -> None:
    made = {
        name: keys.create_organization_key(
            organization=organization, name=name, actor=None, environment=environment
        )[0]
        for name, environment in (
            ("active", "staging"),
            ("disabled", "production"),
            ("expired", "production"),
            ("revoked", "production"),
        )
    }
    keys.disable(key=made["disabled"], actor=None)
    keys.revoke(key=made["revoked"], actor=None)
    ApiKey.objects.filter(name="expired").update(expires_at=timezone.now() - timedelta(days=1))

    for state in made:
        _, page = as_owner("get", f"{URL}?state={state}")
        assert [(key["name"], key["state"]) for key in page["data"]] == [(state, state)]
    _, page = as_owner("get", f"{URL}?environment=staging")
    assert [key["name"] for key in page["data"]] == ["active"]
    _, first = as_owner("get", f"{URL}?limit=3")
    _, rest = as_owner("get", f"{URL}?limit=3&cursor={first['next_cursor']}")
    assert [key["name"] for key in first["data"] + rest["data"]] == [
        "revoked",
        "expired",
        "disabled",
        "active",
    ]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "cursor=x", "state=dead", "kind=service", "environment=%00"]
)
def test_a_bad_parameter_is_refused_by_name(as_owner: Ask, query: str) -> None:
    status, refusal = as_owner("get", f"{URL}?{query}")

    assert (status, refusal["error"]["param"]) == (400, query.partition("=")[0])


def test_queries_do_not_grow_with_keys(
    as_owner: Ask,
    organization: Organization,
    owner: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        keys.create_organization_key(organization=organization, name=str(number), actor=Actor(owner))

    with django_assert_max_num_queries(10):
        _, page = as_owner("get", URL)
    assert len(page["data"]) == 20


METHODS = [
    ("get", "", None),
    ("patch", "", {"name": "mine"}),
    ("delete", "", None),
    ("post", "/rotate", {"grace": "now"}),
    ("post", "/enable", {}),
    ("post", "/disable", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), METHODS)
def test_foreign_keys_are_not_there(
    as_owner: Ask,
    other_organization: Organization,
    outsider: User,
    admin: User,
    organization: Organization,
    service_key: Key,
    method: str,
    path: str,
    body: Any,
) -> None:
    foreign, _ = keys.create_organization_key(
        organization=other_organization, name="k", actor=Actor(outsider)
    )
    personal, _ = keys.create_personal_key(user=admin, organization=organization, name="laptop")

    for uid in (foreign.uid, personal.uid, service_key[0].uid, "key_none"):
        status, _ = as_owner(method, f"{URL}/{uid}{path}", body)
        assert status == 404
    assert ApiKey.objects.exclude(rotated_at=None, disabled_at=None, revoked_at=None).count() == 0


@pytest.mark.parametrize(("method", "path", "body"), METHODS[1:])
def test_members_without_the_permission_change_nothing(
    member: User, organization_key: Key, method: str, path: str, body: Any
) -> None:
    status, _ = signed_in(member)(method, f"{URL}/{organization_key[0].uid}{path}", body)

    assert status == 403
    assert usable_key(organization_key[1])


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_counts_and_is_recorded_with_what_was_before(as_owner: Ask, organization_key: Key) -> None:
    status, changed = as_owner(
        "patch", f"{URL}/{organization_key[0].uid}", {"requests_per_minute": 5, "name": "production"}
    )

    entry = AuditEntry.objects.get(action="api_key.updated")
    assert (status, changed["requests_per_minute"]) == (200, 5)
    assert (entry.before, entry.after) == ({"requests_per_minute": None}, {"requests_per_minute": 5})


def test_a_revoked_key_can_not_be_changed(as_owner: Ask, organization_key: Key) -> None:
    keys.revoke(key=organization_key[0], actor=None)
    url = f"{URL}/{organization_key[0].uid}"

    answers = [
        as_owner("patch", url, {"name": "x"}),
        as_owner("post", f"{url}/rotate", {}),
        as_owner("post", f"{url}/enable", {}),
        as_owner("post", f"{url}/disable", {}),
    ]

    assert [(status, answer["error"]["type"]) for status, answer in answers] == [(409, "conflict")] * 4


def test_deleting_revokes_at_once_and_again_does_no_harm(as_owner: Ask, organization_key: Key) -> None:
    key, secret = organization_key

    answers = [as_owner("delete", f"{URL}/{key.uid}") for _ in range(2)]

    assert answers == [(204, {})] * 2
    assert usable_key(secret) is None
    assert as_owner("get", f"{URL}/{key.uid}")[1]["state"] == "revoked"
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_a_key_is_switched_off_and_on(as_owner: Ask, organization_key: Key) -> None:
    key, secret = organization_key

    off = [as_owner("post", f"{URL}/{key.uid}/disable", {}) for _ in range(2)]
    between = usable_key(secret)
    on = [as_owner("post", f"{URL}/{key.uid}/enable") for _ in range(2)]

    assert [(status, answer["state"]) for status, answer in off + on] == [(200, "disabled")] * 2 + [
        (200, "active")
    ] * 2
    assert between is None
    assert usable_key(secret) == key


def test_a_viewer_revokes_and_rotates_their_own_key(viewer: User, organization: Organization) -> None:
    key, secret = keys.create_personal_key(user=viewer, organization=organization, name="laptop")
    asking = signed_in(viewer)

    status, rotated = asking("post", f"{URL}/{key.uid}/rotate", {"grace": 0})
    assert (status, usable_key(secret), usable_key(rotated["key"])) == (200, None, key)
    assert asking("delete", f"{URL}/{key.uid}")[0] == 204
    assert usable_key(rotated["key"]) is None


# ── Rotating ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "grace"),
    [
        ({}, timedelta(hours=24)),
        ({"grace": "now"}, timedelta(0)),
        ({"grace": "1 hour"}, timedelta(hours=1)),
        ({"grace": "7 days"}, timedelta(days=7)),
        ({"grace": 90}, timedelta(seconds=90)),
    ],
)
def test_both_secrets_work_until_the_grace_is_over(
    as_owner: Ask, organization_key: Key, body: Json, grace: timedelta
) -> None:
    key, old = organization_key
    with time_machine.travel(NOW, tick=False):
        status, rotated = as_owner("post", f"{URL}/{key.uid}/rotate", body)

    with time_machine.travel(NOW + grace, tick=False):
        after = usable_key(old), usable_key(rotated["key"])
    with time_machine.travel(NOW + grace - timedelta(seconds=1), tick=False):
        before = usable_key(old) if grace else None
    assert (status, rotated["id"]) == (200, key.uid)
    assert after == (None, key)
    assert before == (key if grace else None)
    assert rotated["previous_last_four"] == old[-4:]


@pytest.mark.parametrize("grace", ["8 days", "", -1, 604_801, 10**30, 1.5, True, None, [], {}, "\0"])
def test_a_bad_grace_is_refused(as_owner: Ask, organization_key: Key, grace: object) -> None:
    status, refusal = as_owner("post", f"{URL}/{organization_key[0].uid}/rotate", {"grace": grace})

    assert (status, refusal["error"]["param"]) == (400, "grace")
    assert usable_key(organization_key[1])


def test_within_its_grace_a_key_is_not_rotated_again(as_owner: Ask, organization_key: Key) -> None:
    url = f"{URL}/{organization_key[0].uid}/rotate"
    _, first = as_owner("post", url, {"grace": "1 hour"})

    status, _ = as_owner("post", url, {"grace": "now"})

    assert status == 409
    assert usable_key(first["key"]) and usable_key(organization_key[1])


def test_the_old_secret_can_be_stopped_before_its_time(as_owner: Ask, organization_key: Key) -> None:
    key, secret = organization_key
    as_owner("post", f"{URL}/{key.uid}/rotate", {})

    status, line = as_owner("post", f"{URL}/{key.uid}/end-grace", {})

    assert (status, line["previous_expires_at"] is not None) == (200, True)
    assert usable_key(secret) is None


def test_a_misspelt_limit_makes_no_key_without_one(as_owner: Ask) -> None:
    before = ApiKey.objects.count()

    status, answer = as_owner("post", URL, {"name": "checkout", "alowed_ips": ["192.0.2.1"]})

    assert (status, answer["error"]["param"]) == (400, "alowed_ips")
    assert ApiKey.objects.count() == before
