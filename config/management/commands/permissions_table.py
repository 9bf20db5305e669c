from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand

from accounts.permissions import (
    DEFAULT_SCOPES,
    ROLE_PERMISSIONS,
    SCOPE_PERMISSIONS,
    Permission,
    ServicePermission,
)
from config.staff_groups import ADMINISTRATOR, APPS, MAY

INTRODUCTION = """\
# Roles, scopes and permissions

Written by `make docs` from `accounts/permissions.py`, the one table that decides, and, for the staff, from
`config/staff_groups.py`; a test keeps them equal, and others walk every route with every role and group.

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

STAFF = """
## What the support staff may do

The staff of the operator see everything in the admin but secrets, which no page shows. Groups say what they may do
besides; `create_staff --group` or an administrator puts people in them. Colleagues are changed only by those who may
say who is on the staff, and superusers only by each other; nobody changes their own account there, or gives what they
do not have. Service keys are stopped and started only by those who may make them. Migrating writes these groups afresh;
groups of your own stay as they are.

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
        + STAFF
        + _staff_table()
        + CLOSING
    )


def _table(granted: Mapping[str, frozenset[Permission]]) -> str:
    """A line a permission, a column for each of those who may have it."""
    marks = [["✓" if permission in held else "" for held in granted.values()] for permission in Permission]
    rows = [
        [permission.label, f"`{permission}`", *row] for permission, row in zip(Permission, marks, strict=True)
    ]
    return _lines(["To", "Permission", *granted], rows)


def _staff_table() -> str:
    """The same of the staff's groups. Administrators have all there is, also what no other group has."""
    rows = [
        [words, f"`{label}`", *("✓" if label in held else "" for held in MAY.values()), "✓"]
        for label, words in _of_the_admin().items()
    ]
    return _lines(["To", "Permission", *MAY, ADMINISTRATOR], rows)


def _of_the_admin() -> dict[str, str]:
    """What a group may be given: what some group has, and the permissions that are none of Django's own four."""
    given = frozenset[str]().union(*MAY.values())
    found: dict[str, str] = {}
    for model in apps.get_models():
        if model._meta.app_label not in APPS:
            continue
        own = {f"{model._meta.app_label}.{name}": str(words) for name, words in model._meta.permissions}
        djangos = {
            f"{model._meta.app_label}.{verb}_{model._meta.model_name}": f"{verb} {model._meta.verbose_name_plural}"
            for verb in model._meta.default_permissions
        }
        found |= {label: words for label, words in djangos.items() if label in given} | own
    return {
        label: words.removeprefix("Can ")[:1].upper() + words.removeprefix("Can ")[1:]
        for label, words in found.items()
    }


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---", "---", *(":-:" for _ in heads[2:])], *rows]
    return "".join(f"{_line(line)}\n" for line in lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
