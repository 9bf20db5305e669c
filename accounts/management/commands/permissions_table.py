from collections.abc import Iterable, Mapping
from typing import Any

from django.core.management.base import BaseCommand

from accounts.permissions import (
    DEFAULT_SCOPES,
    ROLE_PERMISSIONS,
    SCOPE_PERMISSIONS,
    Permission,
    ServicePermission,
)

INTRODUCTION = """\
# Roles, scopes and permissions

Written by `make docs` from `accounts/permissions.py`, the one table that decides; a test keeps the two equal, and
another walks every route with every role.

## What a role may do

A member has one role in each organization; each organization has exactly one owner. To those who are not members it
does not exist: its id in a path answers 404, and as `orgId` 403. A member without the permission is refused (403). With
the setting *only the owner manages API keys*, `{keys}` is the owner's alone. Nobody gives, changes or removes
a role above their own.

"""

SCOPES = """
## What a key may do

A key may do what its scopes grant, and never more than its maker may by role at that moment. A new key has the scopes
{default} unless others are chosen. A personal key acts for its owner, in each of their organizations.

Roles bound what is read and managed, not the metered API itself: with the scope `jobs` the personal key of any member,
viewers too, sends documents, which uses the credits of the organization it was made in.

"""

SERVICE = """
## What the operator's own programs may do

Service keys, which staff make, belong to no organization. Their scopes are these permissions themselves:

"""

CLOSING = """
## Roles of one's own

Nothing but this table compares roles: pages, API and templates ask for a permission. A role that an organization
defines itself is therefore one more row, a name with a set of permissions, which `permissions.of_role` would look up.
"""


class Command(BaseCommand):
    help = "Print roles, scopes and permissions as a page of the documentation."
    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        self.stdout.write(_page(), ending="")


def _page() -> str:
    default = ", ".join(f"`{scope}`" for scope in DEFAULT_SCOPES)
    service = "".join(f"- `{permission}`: {permission.label}\n" for permission in ServicePermission)
    return (
        INTRODUCTION.format(keys=Permission.API_KEYS_MANAGE)
        + _table({role.label: granted for role, granted in ROLE_PERMISSIONS.items()})
        + SCOPES.format(default=default)
        + _table({f"`{scope}`": granted for scope, granted in SCOPE_PERMISSIONS.items()})
        + SERVICE
        + service
        + CLOSING
    )


def _table(granted: Mapping[str, frozenset[Permission]]) -> str:
    """A line a permission, a column for each of those who may have it."""
    marks = [["✓" if permission in held else "" for held in granted.values()] for permission in Permission]
    lines = [
        ["To", "Permission", *granted],
        ["---", "---", *(":-:" for _ in granted)],
        *(
            [permission.label, f"`{permission}`", *row]
            for permission, row in zip(Permission, marks, strict=True)
        ),
    ]
    return "".join(f"{_line(line)}\n" for line in lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
