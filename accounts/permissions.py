"""The one table that says who may do what. Pages, API and templates read it; nothing else compares roles."""

from django.db import models


class Permission(models.TextChoices):
    ORGANIZATION_VIEW = "organization:view", "See the organization's settings"
    ORGANIZATION_MANAGE = "organization:manage", "Change the organization's settings"
    ORGANIZATION_TRANSFER = "organization:transfer", "Hand the organization over"
    ORGANIZATION_DELETE = "organization:delete", "Delete the organization"
    TEAM_VIEW = "team:view", "See members and invitations"
    TEAM_MANAGE = "team:manage", "Invite, change and remove members"
    API_KEYS_VIEW = "api_keys:view", "See API keys"
    API_KEYS_MANAGE = "api_keys:manage", "Create, change and revoke API keys"
    AUDIT_VIEW = "audit:view", "Read the audit trail"
    JOBS_VIEW = "jobs:view", "Read the request log"
    USAGE_VIEW = "usage:view", "See usage"
    EXPORTS_CREATE = "exports:create", "Export usage"
    PIPELINES_MANAGE = "pipelines:manage", "Manage pipelines"
    ALERTS_VIEW = "alerts:view", "See usage alerts"
    ALERTS_MANAGE = "alerts:manage", "Manage usage alerts"
    SPEND_CAP_MANAGE = "spend_cap:manage", "Set the spend cap"
    WEBHOOKS_VIEW = "webhooks:view", "See webhook endpoints"
    WEBHOOKS_MANAGE = "webhooks:manage", "Manage webhook endpoints"
    BILLING_VIEW = "billing:view", "See invoices and the plan"
    BILLING_MANAGE = "billing:manage", "Manage the subscription"


class ServicePermission(models.TextChoices):
    """What the operator's own programs may do. A service key's scopes are these names."""

    GATEWAY_VERIFY = "gateway:verify", "Ask whether a key may call"
    GATEWAY_REPORT = "gateway:report", "Report jobs and usage"
    BILLING_USAGE_EXPORT = "billing_usage:export", "Fetch usage for billing by hand"


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


P = Permission
_VIEWER = frozenset(
    {
        P.ORGANIZATION_VIEW,
        P.TEAM_VIEW,
        P.API_KEYS_VIEW,
        P.JOBS_VIEW,
        P.USAGE_VIEW,
        P.ALERTS_VIEW,
        P.WEBHOOKS_VIEW,
    }
)
_MEMBER = _VIEWER | {P.EXPORTS_CREATE, P.PIPELINES_MANAGE, P.ALERTS_MANAGE}
_ADMIN = _MEMBER | {
    P.ORGANIZATION_MANAGE,
    P.TEAM_MANAGE,
    P.API_KEYS_MANAGE,
    P.AUDIT_VIEW,
    P.SPEND_CAP_MANAGE,
    P.WEBHOOKS_MANAGE,
    P.BILLING_VIEW,
}
_OWNER = _ADMIN | {P.ORGANIZATION_TRANSFER, P.ORGANIZATION_DELETE, P.BILLING_MANAGE}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OWNER: _OWNER,
    Role.ADMIN: _ADMIN,
    Role.MEMBER: _MEMBER,
    Role.VIEWER: _VIEWER,
}


class Scope(models.TextChoices):
    """What an organization or personal key was made for. Its rights are the union of its scopes' permissions."""

    JOBS = "jobs"
    USAGE = "usage"
    WEBHOOKS = "webhooks"
    ALERTS = "alerts"
    API_KEYS = "api_keys", "API keys"
    TEAM = "team"
    AUDIT = "audit"
    BILLING = "billing"
    OWNERSHIP = "ownership"


DEFAULT_SCOPES = [Scope.JOBS, Scope.USAGE, Scope.WEBHOOKS]

SCOPE_PERMISSIONS: dict[Scope, frozenset[Permission]] = {
    Scope.JOBS: frozenset({P.JOBS_VIEW, P.PIPELINES_MANAGE}),
    Scope.USAGE: frozenset({P.USAGE_VIEW, P.EXPORTS_CREATE}),
    Scope.WEBHOOKS: frozenset({P.WEBHOOKS_VIEW, P.WEBHOOKS_MANAGE}),
    Scope.ALERTS: frozenset({P.ALERTS_VIEW, P.ALERTS_MANAGE, P.SPEND_CAP_MANAGE}),
    Scope.API_KEYS: frozenset({P.API_KEYS_VIEW, P.API_KEYS_MANAGE}),
    Scope.TEAM: frozenset({P.ORGANIZATION_VIEW, P.ORGANIZATION_MANAGE, P.TEAM_VIEW, P.TEAM_MANAGE}),
    Scope.AUDIT: frozenset({P.AUDIT_VIEW}),
    Scope.BILLING: frozenset({P.BILLING_VIEW, P.BILLING_MANAGE}),
    Scope.OWNERSHIP: frozenset({P.ORGANIZATION_TRANSFER, P.ORGANIZATION_DELETE}),
}


def of_role(role: str, *, only_owner_manages_keys: bool = False) -> frozenset[Permission]:
    """What a role may do. An organization can keep the management of keys to those who may hand it over."""
    granted = ROLE_PERMISSIONS[Role(role)]
    if only_owner_manages_keys and P.ORGANIZATION_TRANSFER not in granted:
        return granted - {P.API_KEYS_MANAGE}
    return granted


def roles_with(permission: Permission) -> list[Role]:
    return [role for role, granted in ROLE_PERMISSIONS.items() if permission in granted]


def reaches(of_person: frozenset[Permission], role: str) -> bool:
    """Whether somebody with these permissions may give this role, and change or remove who has it.

    Never above their own level. The owner's is not given but handed over.
    """
    return role != Role.OWNER and of_role(role) - {P.API_KEYS_MANAGE} <= of_person


def of_scopes(scopes: list[str]) -> frozenset[Permission]:
    """The permissions of these scopes. A scope that no longer exists grants nothing."""
    return frozenset().union(*(SCOPE_PERMISSIONS[Scope(scope)] for scope in scopes if scope in Scope.values))
