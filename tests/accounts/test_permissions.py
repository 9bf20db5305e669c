import pytest

from accounts import permissions
from accounts.permissions import DEFAULT_SCOPES, SCOPE_PERMISSIONS, Permission, Role, Scope


def test_each_role_may_all_that_the_next_lower_one_may() -> None:
    viewer, member, admin, owner = (
        permissions.of_role(role) for role in (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)
    )

    assert viewer < member < admin < owner


def test_the_owner_may_everything() -> None:
    assert permissions.of_role(Role.OWNER) == frozenset(Permission)


def test_only_the_owner_deletes_hands_over_and_pays() -> None:
    owners_only = permissions.of_role(Role.OWNER) - permissions.of_role(Role.ADMIN)

    assert owners_only == {
        Permission.ORGANIZATION_DELETE,
        Permission.ORGANIZATION_TRANSFER,
        Permission.BILLING_MANAGE,
    }


def test_a_viewer_changes_nothing() -> None:
    assert all(permission.endswith(":view") for permission in permissions.of_role(Role.VIEWER))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_members_and_viewers_manage_no_keys_webhooks_or_team(role: Role) -> None:
    held = permissions.of_role(role)

    assert held.isdisjoint(
        {
            Permission.API_KEYS_MANAGE,
            Permission.WEBHOOKS_MANAGE,
            Permission.TEAM_MANAGE,
            Permission.AUDIT_VIEW,
        }
    )


def test_every_permission_is_within_some_scope() -> None:
    assert frozenset().union(*SCOPE_PERMISSIONS.values()) == frozenset(Permission)


def test_default_scopes_reach_neither_team_nor_ownership_nor_billing() -> None:
    held = permissions.of_scopes(list(DEFAULT_SCOPES))
    chosen_only = [Scope.TEAM, Scope.OWNERSHIP, Scope.BILLING, Scope.API_KEYS]

    assert held.isdisjoint(permissions.of_scopes(list(chosen_only)))


def test_the_rights_of_several_scopes_are_their_union() -> None:
    assert permissions.of_scopes(["jobs", "audit"]) == (
        SCOPE_PERMISSIONS[Scope.JOBS] | SCOPE_PERMISSIONS[Scope.AUDIT]
    )


def test_no_scopes_no_rights() -> None:
    assert permissions.of_scopes([]) == frozenset()


def test_a_scope_that_no_longer_exists_grants_nothing() -> None:
    assert permissions.of_scopes(["everything"]) == frozenset()


def test_an_unknown_role_is_an_error_rather_than_no_rights() -> None:
    with pytest.raises(ValueError, match="intern"):
        permissions.of_role("intern")
