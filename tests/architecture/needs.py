"""What each page and call of an organization needs: one permission, or one a method."""

from accounts.permissions import Permission
from tests.architecture.routes import Route

P = Permission
O = "o/<slug:organization_uid>"  # noqa: E741
V1 = "api/v1"

# Everybody manages personal keys of their own; the keys that are asked about here are the organization's.
NEEDS: dict[str, Permission | dict[str, Permission]] = {
    f"{O}/settings/": {"GET": P.ORGANIZATION_VIEW, "POST": P.ORGANIZATION_MANAGE},
    f"{O}/settings/data/": {"GET": P.ORGANIZATION_VIEW, "POST": P.ORGANIZATION_MANAGE},
    f"{O}/settings/security/": P.ORGANIZATION_MANAGE,
    f"{O}/settings/delete/": P.ORGANIZATION_DELETE,
    f"{O}/team/": P.TEAM_VIEW,
    f"{O}/team/invite/": P.TEAM_MANAGE,
    f"{O}/team/invitations/<slug:invitation_uid>/resend/": P.TEAM_MANAGE,
    f"{O}/team/invitations/<slug:invitation_uid>/revoke/": P.TEAM_MANAGE,
    f"{O}/team/members/<slug:user_uid>/": P.TEAM_MANAGE,
    f"{O}/team/members/<slug:user_uid>/remove/": P.TEAM_MANAGE,
    f"{O}/team/leave/": P.ORGANIZATION_VIEW,
    f"{O}/team/transfer/": P.ORGANIZATION_TRANSFER,
    f"{O}/team/transfer/accept/": P.ORGANIZATION_VIEW,
    f"{O}/team/transfer/cancel/": {"POST": P.ORGANIZATION_TRANSFER},
    f"{O}/audit/": P.AUDIT_VIEW,
    f"{O}/audit.csv": P.AUDIT_VIEW,
    f"{O}/api-keys/": P.API_KEYS_VIEW,
    f"{O}/api-keys/create/": P.API_KEYS_MANAGE,
    f"{O}/api-keys/leaked/": P.API_KEYS_MANAGE,
    f"{O}/api-keys/personal/": P.ORGANIZATION_VIEW,
    f"{O}/api-keys/personal/create/": P.ORGANIZATION_VIEW,
    f"{O}/api-keys/<slug:key_uid>/": {"GET": P.API_KEYS_VIEW, "POST": P.API_KEYS_MANAGE},
    f"{O}/api-keys/<slug:key_uid>/rotate/": P.API_KEYS_MANAGE,
    f"{O}/api-keys/<slug:key_uid>/end-grace/": {"POST": P.API_KEYS_MANAGE},
    f"{O}/api-keys/<slug:key_uid>/disable/": {"POST": P.API_KEYS_MANAGE},
    f"{O}/api-keys/<slug:key_uid>/enable/": {"POST": P.API_KEYS_MANAGE},
    f"{O}/api-keys/<slug:key_uid>/revoke/": P.API_KEYS_MANAGE,
    f"{O}/usage/": P.USAGE_VIEW,
    f"{O}/usage/credits/": P.USAGE_VIEW,
    f"{O}/usage/jobs.csv": P.EXPORTS_CREATE,
    f"{O}/usage/records.csv": P.EXPORTS_CREATE,
    f"{O}/usage/exports/": P.EXPORTS_CREATE,
    f"{O}/usage/exports/create/": {"POST": P.EXPORTS_CREATE},
    f"{O}/usage/exports/<slug:export_uid>/download/": {"GET": P.EXPORTS_CREATE},
    f"{O}/usage/exports/<slug:export_uid>/cancel/": {"POST": P.EXPORTS_CREATE},
    f"{O}/usage/exports/<slug:export_uid>/retry/": {"POST": P.EXPORTS_CREATE},
    f"{O}/usage/exports/<slug:export_uid>/delete/": {"POST": P.EXPORTS_CREATE},
    f"{O}/usage/alerts/": P.ALERTS_VIEW,
    f"{O}/usage/alerts/create/": P.ALERTS_MANAGE,
    f"{O}/usage/alerts/<slug:alert_uid>/": P.ALERTS_VIEW,
    f"{O}/usage/alerts/<slug:alert_uid>/edit/": P.ALERTS_MANAGE,
    f"{O}/usage/alerts/<slug:alert_uid>/enable/": {"POST": P.ALERTS_MANAGE},
    f"{O}/usage/alerts/<slug:alert_uid>/disable/": {"POST": P.ALERTS_MANAGE},
    f"{O}/usage/alerts/<slug:alert_uid>/test/": {"POST": P.ALERTS_MANAGE},
    f"{O}/usage/alerts/<slug:alert_uid>/delete/": P.ALERTS_MANAGE,
    f"{O}/usage/spend-cap/": {"GET": P.ALERTS_VIEW, "POST": P.SPEND_CAP_MANAGE},
    f"{O}/usage/spend-cap/remove/": P.SPEND_CAP_MANAGE,
    f"{O}/jobs/": P.JOBS_VIEW,
    f"{O}/jobs/<job_id:job_id>/": P.JOBS_VIEW,
    f"{V1}/organizations/<slug:organization_uid>": {
        "GET": P.ORGANIZATION_VIEW,
        "PATCH": P.ORGANIZATION_MANAGE,
        "DELETE": P.ORGANIZATION_DELETE,
    },
    f"{V1}/organizations/<slug:organization_uid>/transfer": {
        "GET": P.TEAM_VIEW,
        "POST": P.ORGANIZATION_TRANSFER,
        "DELETE": P.ORGANIZATION_TRANSFER,
    },
    f"{V1}/members": {"GET": P.TEAM_VIEW},
    f"{V1}/members/<slug:user_uid>": {"PATCH": P.TEAM_MANAGE, "DELETE": P.TEAM_MANAGE},
    f"{V1}/invitations": {"GET": P.TEAM_VIEW, "POST": P.TEAM_MANAGE},
    f"{V1}/invitations/<slug:invitation_uid>": {"DELETE": P.TEAM_MANAGE},
    f"{V1}/invitations/<slug:invitation_uid>/resend": {"POST": P.TEAM_MANAGE},
    f"{V1}/api-keys": {"GET": P.API_KEYS_VIEW, "POST": P.API_KEYS_MANAGE},
    f"{V1}/api-keys/<slug:key_uid>": {
        "GET": P.API_KEYS_VIEW,
        "PATCH": P.API_KEYS_MANAGE,
        "DELETE": P.API_KEYS_MANAGE,
    },
    f"{V1}/api-keys/<slug:key_uid>/rotate": {"POST": P.API_KEYS_MANAGE},
    f"{V1}/api-keys/<slug:key_uid>/end-grace": {"POST": P.API_KEYS_MANAGE},
    f"{V1}/api-keys/<slug:key_uid>/enable": {"POST": P.API_KEYS_MANAGE},
    f"{V1}/api-keys/<slug:key_uid>/disable": {"POST": P.API_KEYS_MANAGE},
    f"{V1}/audit": {"GET": P.AUDIT_VIEW},
    f"{V1}/jobs": {"GET": P.JOBS_VIEW},
    f"{V1}/job/<job_id:job_id>": {"GET": P.JOBS_VIEW},
    f"{V1}/usage/export": {"GET": P.USAGE_VIEW},
    f"{V1}/usage/records": {"GET": P.USAGE_VIEW},
    f"{V1}/usage/exports": {"GET": P.EXPORTS_CREATE, "POST": P.EXPORTS_CREATE},
    f"{V1}/usage/exports/<slug:export_uid>": {"GET": P.EXPORTS_CREATE, "DELETE": P.EXPORTS_CREATE},
    f"{V1}/usage/exports/<slug:export_uid>/file": {"GET": P.EXPORTS_CREATE},
    f"{V1}/usage/summary": {"GET": P.USAGE_VIEW},
    f"{V1}/alerts": {"GET": P.ALERTS_VIEW, "POST": P.ALERTS_MANAGE},
    f"{V1}/alerts/<slug:alert_uid>": {
        "GET": P.ALERTS_VIEW,
        "PATCH": P.ALERTS_MANAGE,
        "DELETE": P.ALERTS_MANAGE,
    },
    f"{V1}/alerts/<slug:alert_uid>/test": {"POST": P.ALERTS_MANAGE},
    f"{V1}/alerts/<slug:alert_uid>/firings": {"GET": P.ALERTS_VIEW},
    f"{V1}/spend-cap": {"GET": P.ALERTS_VIEW, "PUT": P.SPEND_CAP_MANAGE, "DELETE": P.SPEND_CAP_MANAGE},
}


def needed(route: Route) -> dict[str, Permission]:
    """The permission that each method of this route needs."""
    needs = NEEDS[route.path]
    return needs if isinstance(needs, dict) else dict.fromkeys(("GET", "POST"), needs)
