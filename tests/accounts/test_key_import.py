"""Keys made elsewhere work here: a file of their hashes comes in as a whole or not at all, and once."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts import key_import, keys
from accounts.models import ApiKey, AuditEntry, Organization, User

OLD_KEY = "sk_live_51HxTkZqWcVbNmAs"
HASH = sha256(OLD_KEY.encode()).hexdigest()
OTHER_HASH = sha256(b"sk_live_another").hexdigest()

Run = Callable[[str], key_import.Imported]


@pytest.fixture
def run(organization: Organization) -> Run:
    """Import these lines, in which ORG stands for the organization's id."""

    def import_lines(text: str) -> key_import.Imported:
        return key_import.import_keys(StringIO(text.replace("ORG", organization.uid)), actor=None)

    return import_lines


def faults(run: Run, text: str) -> list[str]:
    with pytest.raises(key_import.Refused) as refused:
        run(text)
    return refused.value.faults


def test_an_imported_key_is_verified_and_calls_the_api(
    run: Run, client: Client, organization: Organization, service_key: tuple[ApiKey, str]
) -> None:
    run(f"sha256,organization,name,prefix,last_four\n{HASH},ORG,legacy,sk_live_51,NmAs\n")

    verified = client.post(
        "/api/v1/gateway/verify",
        {"key": OLD_KEY},
        content_type="application/json",
        headers={"Authorization": f"Bearer {service_key[1]}"},
    ).json()
    whoami = client.get("/api/v1/api-keys/whoami", headers={"Authorization": f"Bearer {OLD_KEY}"})

    key = ApiKey.objects.get(name="legacy")
    assert (verified["code"], verified["api_key_id"]) == ("VALID", key.uid)
    assert verified["organization_id"] == organization.uid
    assert whoami.status_code == 200
    assert key.masked == "sk_live_51…NmAs"


def test_every_column_is_taken_over(run: Run, owner: User) -> None:
    run(
        "sha256,organization,name,environment,scopes,expires_at,created_by\n"
        f"{HASH.upper()},ORG,legacy,staging,jobs usage,2035-01-31T00:00:00+01:00,Olivia@Example.com\n"
    )

    key = ApiKey.objects.get()
    assert (key.name, key.environment, key.scopes) == ("legacy", "staging", ["jobs", "usage"])
    assert key.expires_at == datetime(2035, 1, 30, 23, tzinfo=UTC)
    assert key.created_by == owner


def test_each_key_is_in_the_audit_trail(run: Run, organization: Organization) -> None:
    run(f"sha256,organization,name\n{HASH},ORG,legacy\n{OTHER_HASH},ORG,second\n")

    entries = AuditEntry.objects.filter(action="api_key.imported", organization=organization)
    assert {entry.after["name"] for entry in entries} == {"legacy", "second"}


def test_the_same_file_again_adds_nothing(run: Run) -> None:
    file = f"sha256,organization,name\n{HASH},ORG,legacy\n{OTHER_HASH},ORG,second\n"

    first, second = run(file), run(file)

    assert (first.new, first.known) == (2, 0)
    assert (second.new, second.known) == (0, 2)
    assert ApiKey.objects.count() == 2
    assert AuditEntry.objects.filter(action="api_key.imported").count() == 2


def test_a_revoked_key_does_not_come_back(run: Run) -> None:
    file = f"sha256,organization,name\n{HASH},ORG,legacy\n"
    run(file)
    keys.revoke(key=ApiKey.objects.get(), actor=None)

    run(file)

    assert ApiKey.objects.get().state == "revoked"


def test_a_key_that_came_under_an_earlier_pepper_is_known(run: Run, settings: Settings) -> None:
    file = f"sha256,organization,name\n{HASH},ORG,legacy\n"
    run(file)
    settings.KEY_PEPPERS = settings.KEY_PEPPERS | {"next": "f" * 64}

    assert run(file).known == 1


def test_a_key_of_another_organization_is_a_fault(
    run: Run, organization: Organization, other_organization: Organization
) -> None:
    run(f"sha256,organization,name\n{HASH},ORG,legacy\n")

    found = faults(run, f"sha256,organization,name\n{HASH},{other_organization.uid},mine\n")

    assert found == ["Line 2, sha256: Another organization has this key."]
    assert ApiKey.objects.get().organization == organization


def test_one_bad_row_keeps_the_whole_file_out(run: Run) -> None:
    found = faults(run, f"sha256,organization,name\n{HASH},ORG,legacy\n{OTHER_HASH},org_unknown,\n")

    assert found == [
        "Line 3, organization: There is no organization with this id.",
        "Line 3, name: Give the key a name.",
    ]
    assert not ApiKey.objects.exists()
    assert not AuditEntry.objects.filter(action="api_key.imported").exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("sha256", OLD_KEY, "64 hexadecimal digits"),
        ("sha256", "ö" * 64, "64 hexadecimal digits"),
        ("organization", "org_nul\0", "no organization with this id"),
        ("name", "", "Give the key a name."),
        ("name", "x" * 81, "at most 80 characters"),
        ("name", "a\x00b", "cannot be seen"),
        ("environment", "moon", "One of: production"),
        ("scopes", "jobs everything", "no scope 'everything'"),
        ("expires_at", "tomorrow", "time with its zone"),
        ("expires_at", "2035-01-31T00:00:00", "time with its zone"),
        ("expires_at", "2035-13-31T00:00:00Z", "time with its zone"),
        ("expires_at", "2020-01-31T00:00:00Z", "has passed"),
        ("prefix", OLD_KEY, "At most 20"),
        ("prefix", "ch_production_", "another KEY_BRAND"),
        ("last_four", OLD_KEY, "last four characters"),
        ("created_by", "otto@example.com", "No member"),
        ("created_by", "nul\0@example.com", "No member"),
    ],
)
def test_a_fault_names_its_line_and_column(run: Run, column: str, value: str, message: str) -> None:
    row = {"sha256": HASH, "organization": "ORG", "name": "legacy"} | {column: value}

    [fault] = faults(run, f"{','.join(row)}\n{','.join(row.values())}\n")

    assert fault.startswith(f"Line 2, {column}: ")
    assert message in fault
    assert OLD_KEY not in fault


def test_every_faulty_column_of_a_line_is_named_at_once(run: Run) -> None:
    found = faults(
        run,
        "sha256,organization,name,environment,scopes,expires_at,prefix,last_four,created_by\n"
        "none,org_unknown,,moon,everything,tomorrow,ch_production_,abc,otto@example.com\n",
    )

    assert {fault.removeprefix("Line 2, ").partition(":")[0] for fault in found} == {
        *key_import.REQUIRED,
        *key_import.OPTIONAL,
    }


def test_a_key_of_which_nothing_is_shown_goes_by_its_name(run: Run) -> None:
    run(f"sha256,organization,name\n{HASH},ORG,legacy\n")

    key = ApiKey.objects.get()

    assert (str(key), key.label) == ("legacy", "legacy")


@pytest.mark.parametrize(
    ("column", "name", "prefix", "last_four"),
    [
        ("name", "short_key_12", "", ""),
        ("prefix", "legacy", "short_key_12", ""),
        ("last_four", "legacy", "short_ke", "y_12"),
    ],
)
def test_a_whole_key_is_not_taken_for_what_may_be_shown_of_it(
    run: Run, column: str, name: str, prefix: str, last_four: str
) -> None:
    row = f"{sha256(b'short_key_12').hexdigest()},ORG,{name},{prefix},{last_four}"

    [fault] = faults(run, f"sha256,organization,name,prefix,last_four\n{row}\n")

    assert fault == f"Line 2, {column}: This is the whole key, which nobody may be shown."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Line 1: The column sha256 is missing."),
        ("sha256,organization\n", "Line 1: The column name is missing."),
        ("sha256,organization,name,secret\n", "Line 1: There is no column 'secret' to import."),
        ("sha256,organization,name,name\n", "Line 1: The column name is there twice."),
        ("sha256,organization,name\na,b\n", "Line 2: It has fewer columns than line 1."),
        ("sha256,organization,name\na,b,c,d\n", "Line 2: It has more columns than line 1."),
        ('sha256,organization,name\n"a"b,c,d\n', "After line 1: This is no CSV"),
        (
            f"sha256,organization,name\n{HASH},ORG,a\n{HASH},ORG,b\n",
            "Line 3, sha256: The same key is on line 2.",
        ),
    ],
)
def test_a_table_of_another_form_is_refused(run: Run, text: str, message: str) -> None:
    fault, *_ = faults(run, text)

    assert fault.startswith(message)
    assert not ApiKey.objects.exists()


def test_the_command_says_how_many_came_in(
    organization: Organization, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.csv"
    file.write_text(f"sha256,organization,name\n{HASH},{organization.uid},legacy\n", "utf-8-sig")

    call_command("import_keys", str(file))

    assert capsys.readouterr().out == "New keys: 1. Known before: 0.\n"


def test_the_command_names_the_faults(organization: Organization, tmp_path: Path) -> None:
    file = tmp_path / "keys.csv"
    file.write_text(f"sha256,organization,name\n{HASH},{organization.uid},\n")

    with pytest.raises(CommandError, match=r"Nothing was imported.\nLine 2, name: Give the key a name."):
        call_command("import_keys", str(file))


def test_the_command_refuses_a_file_in_another_encoding(organization: Organization, tmp_path: Path) -> None:
    file = tmp_path / "keys.csv"
    file.write_bytes(b"sha256,organization,name\n\xff\xfe,x,y\n")

    with pytest.raises(CommandError, match="not UTF-8"):
        call_command("import_keys", str(file))


def test_the_command_says_which_file_is_not_there(db: None) -> None:
    with pytest.raises(CommandError, match=r"missing\.csv: No such file"):
        call_command("import_keys", "missing.csv")
