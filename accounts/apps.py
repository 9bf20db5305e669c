from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from allauth.socialaccount.signals import social_account_added, social_account_removed
        from django.contrib.auth.signals import user_logged_out

        from accounts import sessions, social

        user_logged_out.connect(sessions.stop_looking)
        social_account_added.connect(social.record_connected)
        social_account_removed.connect(social.record_disconnected)
