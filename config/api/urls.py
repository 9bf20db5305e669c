from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.api.api_keys import (
    ApiKeyById,
    ApiKeyDisable,
    ApiKeyEnable,
    ApiKeyEndGrace,
    ApiKeyRotate,
    ApiKeys,
)
from accounts.api.audit import Audit
from accounts.api.invitations import InvitationById, InvitationResend, Invitations
from accounts.api.members import MemberById, Members
from accounts.api.notification_preferences import NotificationPreferences
from accounts.api.organizations import OrganizationById, Organizations
from accounts.api.ownership import OwnershipAcceptance, OwnershipTransfer
from accounts.api.whoami import WhoAmI
from billing.api.invoices import Invoices
from billing.api.ledger import Ledger
from billing.api.sessions import CheckoutSession, PortalSession
from billing.api.summary import Billing
from config.api import schema  # noqa: F401 (it says how the API's views are described)
from usage import gateway, urls  # noqa: F401 (the latter registers the converter job_id)
from usage.api.alerts import AlertById, AlertFirings, Alerts, AlertTest, SpendCapView
from usage.api.export import UsageExport
from usage.api.exports import ExportById, ExportFile, Exports
from usage.api.jobs import JobById, Jobs
from usage.api.pipelines import PipelineById, PipelineByToken, Pipelines
from usage.api.records import Records
from usage.api.summary import UsageSummary
from webhooks.api.endpoints import (
    ConfigureWebhook,
    EndpointById,
    EndpointRotateSecret,
    Endpoints,
    EndpointSecret,
    EventTypes,
)
from webhooks.api.messages import (
    EndpointRecover,
    EndpointTest,
    MessageAttempts,
    MessageById,
    MessageResend,
    Messages,
)

urlpatterns = [
    path("v1/gateway/verify", gateway.verify, name="gateway-verify"),
    path("v1/gateway/jobs", gateway.report_jobs, name="gateway-jobs"),
    path("v1/api-keys/whoami", WhoAmI.as_view(), name="whoami"),
    path("v1/organizations", Organizations.as_view(), name="organizations"),
    path("v1/organizations/<slug:organization_uid>", OrganizationById.as_view(), name="organization"),
    path(
        "v1/organizations/<slug:organization_uid>/transfer",
        OwnershipTransfer.as_view(),
        name="ownership-transfer",
    ),
    path(
        "v1/organizations/<slug:organization_uid>/transfer/accept",
        OwnershipAcceptance.as_view(),
        name="ownership-acceptance",
    ),
    path("v1/members", Members.as_view(), name="members"),
    path("v1/members/<slug:user_uid>", MemberById.as_view(), name="member"),
    path("v1/invitations", Invitations.as_view(), name="invitations"),
    path("v1/invitations/<slug:invitation_uid>", InvitationById.as_view(), name="invitation"),
    path("v1/invitations/<slug:invitation_uid>/resend", InvitationResend.as_view(), name="invitation-resend"),
    path("v1/api-keys", ApiKeys.as_view(), name="api-keys"),
    path("v1/api-keys/<slug:key_uid>", ApiKeyById.as_view(), name="api-key"),
    path("v1/api-keys/<slug:key_uid>/rotate", ApiKeyRotate.as_view(), name="api-key-rotate"),
    path("v1/api-keys/<slug:key_uid>/end-grace", ApiKeyEndGrace.as_view(), name="api-key-end-grace"),
    path("v1/api-keys/<slug:key_uid>/enable", ApiKeyEnable.as_view(), name="api-key-enable"),
    path("v1/api-keys/<slug:key_uid>/disable", ApiKeyDisable.as_view(), name="api-key-disable"),
    path("v1/notification-preferences", NotificationPreferences.as_view(), name="notification-preferences"),
    path("v1/audit", Audit.as_view(), name="audit"),
    path("v1/jobs", Jobs.as_view(), name="jobs"),
    path("v1/job/<job_id:job_id>", JobById.as_view(), name="job"),
    path("v1/usage/records", Records.as_view(), name="usage-records"),
    path("v1/usage/exports", Exports.as_view(), name="usage-exports"),
    path("v1/usage/exports/<slug:export_uid>", ExportById.as_view(), name="usage-export-by-id"),
    path("v1/usage/exports/<slug:export_uid>/file", ExportFile.as_view(), name="usage-export-file"),
    path("v1/usage/export", UsageExport.as_view(), name="usage-export"),
    path("v1/usage/summary", UsageSummary.as_view(), name="usage-summary"),
    path("v1/pipelines", Pipelines.as_view(), name="pipelines"),
    path("v1/pipelines/<slug:draft_uid>", PipelineById.as_view(), name="pipeline"),
    path("v1/studio/pipelines/<str:token>", PipelineByToken.as_view(), name="pipeline-by-token"),
    path("v1/alerts", Alerts.as_view(), name="alerts"),
    path("v1/alerts/<slug:alert_uid>", AlertById.as_view(), name="alert"),
    path("v1/alerts/<slug:alert_uid>/test", AlertTest.as_view(), name="alert-test"),
    path("v1/alerts/<slug:alert_uid>/firings", AlertFirings.as_view(), name="alert-firings"),
    path("v1/spend-cap", SpendCapView.as_view(), name="spend-cap"),
    path("v1/billing", Billing.as_view(), name="billing-summary"),
    path("v1/billing/ledger", Ledger.as_view(), name="billing-ledger"),
    path("v1/billing/invoices", Invoices.as_view(), name="billing-invoices"),
    path("v1/billing/portal-session", PortalSession.as_view(), name="billing-portal-session"),
    path("v1/billing/checkout-session", CheckoutSession.as_view(), name="billing-checkout-session"),
    path("v1/webhooks/messages", Messages.as_view(), name="webhook-messages"),
    path("v1/webhooks/messages/<slug:message_id>", MessageById.as_view(), name="webhook-message"),
    path(
        "v1/webhooks/messages/<slug:message_id>/attempts",
        MessageAttempts.as_view(),
        name="webhook-message-attempts",
    ),
    path(
        "v1/webhooks/messages/<slug:message_id>/resend",
        MessageResend.as_view(),
        name="webhook-message-resend",
    ),
    path(
        "v1/webhooks/endpoints/<slug:endpoint_id>/recover",
        EndpointRecover.as_view(),
        name="webhook-endpoint-recover",
    ),
    path(
        "v1/webhooks/endpoints/<slug:endpoint_id>/test", EndpointTest.as_view(), name="webhook-endpoint-test"
    ),
    path("v1/webhooks/endpoints", Endpoints.as_view(), name="webhook-endpoints"),
    path("v1/webhooks/endpoints/<slug:endpoint_id>", EndpointById.as_view(), name="webhook-endpoint"),
    path("v1/webhooks/endpoints/<slug:endpoint_id>/secret", EndpointSecret.as_view(), name="webhook-secret"),
    path(
        "v1/webhooks/endpoints/<slug:endpoint_id>/rotate-secret",
        EndpointRotateSecret.as_view(),
        name="webhook-rotate-secret",
    ),
    path("v1/webhooks/event-types", EventTypes.as_view(), name="webhook-event-types"),
    path("v1/configure_webhook", ConfigureWebhook.as_view(), name="configure-webhook"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(), name="docs"),
]
