"""The pages about people (`me/`), about organizations (`o/…/`), and those that mailed links open."""

from django.urls import path

from accounts.views import (
    api_keys,
    audit,
    email_change,
    invitations,
    leaked_keys,
    looking,
    notifications,
    organizations,
    ownership,
    personal_data,
    personal_keys,
    profile,
    sessions,
    team,
    two_factor,
    two_factor_challenge,
)

app_name = "accounts"

urlpatterns = [
    path("me/", profile.profile, name="profile"),
    path("me/email/", profile.change_email, name="change_email"),
    path("me/email/cancel/", profile.cancel_email_change, name="cancel_email_change"),
    path("me/delete/", personal_data.delete_account, name="delete_account"),
    path("me/data/", personal_data.download_data, name="download_data"),
    path("email-change/<str:token>/", email_change.confirm_email_change, name="confirm_email_change"),
    path("me/two-factor/", two_factor.overview, name="two_factor"),
    path("me/two-factor/set-up/", two_factor.set_up, name="set_up_two_factor"),
    path("me/two-factor/disable/", two_factor.disable, name="disable_two_factor"),
    path("me/two-factor/recovery-codes/", two_factor.recovery_codes, name="recovery_codes"),
    path("accounts/code/", two_factor_challenge.two_factor_challenge, name="two_factor_challenge"),
    path(
        "accounts/code/cancel/",
        two_factor_challenge.cancel_two_factor_challenge,
        name="cancel_two_factor_challenge",
    ),
    path("me/sessions/", sessions.sessions, name="sessions"),
    path("me/sessions/end-others/", sessions.end_other_sessions, name="end_other_sessions"),
    path("me/sessions/<int:session_id>/end/", sessions.end_session, name="end_session"),
    path("me/notifications/", notifications.notifications, name="notifications"),
    path("me/notifications/read/", notifications.read_notifications, name="read_notifications"),
    path(
        "me/notifications/preferences/",
        notifications.preferences,
        name="notification_preferences",
    ),
    path(
        "me/notifications/<slug:notification_uid>/open/",
        notifications.open_notification,
        name="open_notification",
    ),
    path("me/stop-looking/", looking.stop_looking, name="stop_looking"),
    path("unsubscribe/<str:token>/", notifications.unsubscribe, name="unsubscribe"),
    path("organizations/create/", organizations.create_organization, name="create_organization"),
    path("o/<slug:organization_uid>/settings/", organizations.settings, name="settings"),
    path(
        "o/<slug:organization_uid>/settings/security/",
        organizations.security_settings,
        name="security_settings",
    ),
    path(
        "o/<slug:organization_uid>/settings/delete/",
        organizations.delete_organization,
        name="delete_organization",
    ),
    path("o/<slug:organization_uid>/team/", team.team, name="team"),
    path("o/<slug:organization_uid>/team/invite/", team.invite, name="invite"),
    path(
        "o/<slug:organization_uid>/team/invitations/<slug:invitation_uid>/resend/",
        team.resend_invitation,
        name="resend_invitation",
    ),
    path(
        "o/<slug:organization_uid>/team/invitations/<slug:invitation_uid>/revoke/",
        team.revoke_invitation,
        name="revoke_invitation",
    ),
    path("o/<slug:organization_uid>/team/members/<slug:user_uid>/", team.member, name="member"),
    path(
        "o/<slug:organization_uid>/team/members/<slug:user_uid>/remove/",
        team.remove_member,
        name="remove_member",
    ),
    path("o/<slug:organization_uid>/team/leave/", team.leave, name="leave"),
    path("o/<slug:organization_uid>/team/transfer/", ownership.offer_ownership, name="offer_ownership"),
    path(
        "o/<slug:organization_uid>/team/transfer/accept/", ownership.accept_ownership, name="accept_ownership"
    ),
    path(
        "o/<slug:organization_uid>/team/transfer/cancel/",
        ownership.end_ownership_offer,
        name="end_ownership_offer",
    ),
    path("invitations/<str:token>/", invitations.invitation, name="invitation"),
    path("invitations/<str:token>/decline/", invitations.decline_invitation, name="decline_invitation"),
    path("o/<slug:organization_uid>/audit/", audit.audit, name="audit"),
    path("o/<slug:organization_uid>/audit.csv", audit.audit_csv, name="audit_csv"),
    path("o/<slug:organization_uid>/api-keys/", api_keys.listing, name="api_keys"),
    path("o/<slug:organization_uid>/api-keys/create/", api_keys.create, name="create_api_key"),
    path("o/<slug:organization_uid>/api-keys/personal/", personal_keys.personal_keys, name="personal_keys"),
    path(
        "o/<slug:organization_uid>/api-keys/personal/create/",
        personal_keys.create_personal_key,
        name="create_personal_key",
    ),
    path("o/<slug:organization_uid>/api-keys/leaked/", leaked_keys.leaked_keys, name="leaked_keys"),
    path("o/<slug:organization_uid>/api-keys/<slug:key_uid>/", api_keys.detail, name="api_key"),
    path("o/<slug:organization_uid>/api-keys/<slug:key_uid>/rotate/", api_keys.rotate, name="rotate_api_key"),
    path(
        "o/<slug:organization_uid>/api-keys/<slug:key_uid>/end-grace/",
        api_keys.end_grace,
        name="end_api_key_grace",
    ),
    path(
        "o/<slug:organization_uid>/api-keys/<slug:key_uid>/disable/", api_keys.disable, name="disable_api_key"
    ),
    path("o/<slug:organization_uid>/api-keys/<slug:key_uid>/enable/", api_keys.enable, name="enable_api_key"),
    path("o/<slug:organization_uid>/api-keys/<slug:key_uid>/revoke/", api_keys.revoke, name="revoke_api_key"),
]
