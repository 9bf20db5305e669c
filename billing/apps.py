from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from billing import gateway, inbox, receivers  # noqa: F401  (connects them)

        gateway.set_up()
