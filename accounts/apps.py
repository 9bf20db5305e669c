from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from allauth.socialaccount.signals import social_account_added, social_account_removed

        from accounts import social

        social_account_added.connect(social.record_connected)
        social_account_removed.connect(social.record_disconnected)
