"""Taking in keys that a company made before it came here: by their SHA-256, so that its customers change nothing.

A CSV with a line a key. A file comes in as a whole or not at all, and a second time it adds nothing.
"""

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.dateparse import parse_datetime

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Membership, Organization
from accounts.permissions import DEFAULT_SCOPES

REQUIRED = ("sha256", "organization", "name")
OPTIONAL = ("environment", "scopes", "expires_at", "prefix", "last_four", "created_by")
# Enough to recognise a key by, too little to use it.
LONGEST_PREFIX = 20


class Refused(Exception):
    """Nothing was imported. `faults` says what is wrong, each with its line and column."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(*faults)
        self.faults = faults


@dataclass(frozen=True)
class Imported:
    """How many keys came in, and how many were here before."""

    new: int
    known: int


@transaction.atomic
def import_keys(lines: Iterable[str], *, actor: Actor | None) -> Imported:
    """Import the keys of a CSV file with the columns `REQUIRED`, and any of `OPTIONAL`.

    `organization` is an id (org_…), `scopes` are separated by spaces, `expires_at` is a time with its zone, and
    `created_by` the address of a member: their key may do no more than they. Raises `Refused`.
    """
    rows = _rows(lines)
    organizations = _organizations(rows)
    makers = _makers(rows)
    faults: list[str] = []
    lines_of: dict[str, int] = {}
    new = 0
    for line, row in rows:
        wrong, fields = _read(row, organizations, makers)
        if "sha256" not in wrong:
            first = lines_of.setdefault(row["sha256"].lower(), line)
            if first != line:
                wrong["sha256"] = f"The same key is on line {first}."
        if not wrong:
            try:
                _, is_new = keys.create_imported_key(**fields, actor=actor)
                new += is_new
            except keys.ImportedElsewhere:
                wrong["sha256"] = "Another organization has this key."
        faults += [f"Line {line}, {name}: {message}" for name, message in wrong.items()]
    if faults:
        raise Refused(faults)
    return Imported(new=new, known=len(rows) - new)


def _rows(lines: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows with their line numbers. Raises `Refused` for what is no such table."""
    reader = csv.DictReader(lines, strict=True)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        faults = [f"Line 1: The column {name} is missing." for name in REQUIRED if name not in columns]
        unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
        faults += [f"Line 1: There is no column {name[:40]!r} to import." for name in unknown]
        faults += [
            f"Line 1: The column {name} is there twice."
            for name in REQUIRED + OPTIONAL
            if columns.count(name) > 1
        ]
        if faults:
            raise Refused(faults)
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise Refused(
                    [
                        f"Line {reader.line_num}: It has {'more' if None in row else 'fewer'} columns than line 1."
                    ]
                )
            rows.append((reader.line_num, {name: value.strip() for name, value in row.items()}))
    except csv.Error as error:
        raise Refused([f"After line {reader.line_num}: This is no CSV ({error})."]) from error
    return rows


def _organizations(rows: list[tuple[int, dict[str, str]]]) -> dict[str, Organization]:
    """The organizations named, locked in one order, so that two imports wait for each other."""
    uids = {row["organization"] for _, row in rows if "\0" not in row["organization"]}
    found = Organization.objects.open().filter(uid__in=uids).order_by("id").select_for_update(no_key=True)
    return {organization.uid: organization for organization in found}


def _makers(rows: list[tuple[int, dict[str, str]]]) -> dict[tuple[str, str], Membership]:
    emails = {email.lower() for _, row in rows if (email := row.get("created_by", "")) and "\0" not in email}
    if not emails:
        return {}
    uids = {row["organization"] for _, row in rows if "\0" not in row["organization"]}
    found = Membership.objects.filter(organization__uid__in=uids).select_related("organization", "user")
    return {(each.organization.uid, each.user.email.lower()): each for each in found}


def _read(
    row: dict[str, str],
    organizations: dict[str, Organization],
    makers: dict[tuple[str, str], Membership],
) -> tuple[dict[str, str], dict[str, Any]]:
    """What is wrong with a row by column, and what to make a key with. No message repeats a value that may be a key."""
    wrong: dict[str, str] = {}
    fields: dict[str, Any] = {
        "sha256": row["sha256"],
        "name": row["name"],
        "organization": organizations.get(row["organization"]),
        "environment": row.get("environment") or ApiKey.Environment.PRODUCTION.value,
        "scopes": row.get("scopes", "").split() or DEFAULT_SCOPES,
        "expires_at": None,
        "prefix": row.get("prefix", ""),
        "last_four": row.get("last_four", ""),
    }
    digits = fields["sha256"].lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        wrong["sha256"] = "A SHA-256 is 64 hexadecimal digits."
    if fields["organization"] is None:
        wrong["organization"] = "There is no organization with this id."
    if fields["environment"] not in ApiKey.Environment.values:
        wrong["environment"] = f"One of: {', '.join(ApiKey.Environment.values)}."
    if text := row.get("expires_at"):
        fields["expires_at"] = _moment(text)
        if fields["expires_at"] is None:
            wrong["expires_at"] = "Write a time with its zone, such as 2027-01-31T00:00:00Z."
    if len(fields["prefix"]) > LONGEST_PREFIX or not _is_visible(fields["prefix"]):
        wrong["prefix"] = f"At most {LONGEST_PREFIX} visible characters of ASCII, from the key's beginning."
    elif fields["prefix"].startswith(f"{settings.KEY_BRAND}_"):
        wrong["prefix"] = (
            f"Keys that begin with {settings.KEY_BRAND}_ are taken for ours. Before the first of ours is made, set "
            "another KEY_BRAND."
        )
    if len(fields["last_four"]) not in (0, 4) or not _is_visible(fields["last_four"]):
        wrong["last_four"] = "The last four characters of the key, or nothing."
    if email := row.get("created_by"):
        maker = makers.get((row["organization"], email.lower()))
        if maker is None:
            wrong["created_by"] = "No member of this organization has this address."
        else:
            fields["created_by"] = maker.user
    given = {name: fields[name] for name in ("name", "scopes", "expires_at") if name not in wrong}
    try:
        keys.clean(given, ApiKey.Kind.ORGANIZATION)
    except ValidationError as error:
        wrong |= {name: " ".join(found) for name, found in error.message_dict.items()}
    return _whole_key(fields, digits) | wrong, fields


def _whole_key(fields: dict[str, Any], digits: str) -> dict[str, str]:
    """The fault of a row that has the whole key where some of it may be shown."""
    shown = (
        ("name", fields["name"]),
        ("prefix", fields["prefix"]),
        ("last_four", fields["prefix"] + fields["last_four"]),
    )
    for column, text in shown:
        if hashlib.sha256(text.encode()).hexdigest() == digits:
            return {column: "This is the whole key, which nobody may be shown."}
    return {}


def _is_visible(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:  # a form like a time's, with numbers that are none
        return None
    return moment if moment and moment.tzinfo else None
