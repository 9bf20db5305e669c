from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from config import checks as checks  # it registers the system checks
        from config import staff_groups
        from config import task_runs as task_runs  # it listens to the worker and to beat

        # Once: the signal comes for each app that has models, and this one is the last of them.
        last = [app for app in apps.get_app_configs() if app.models_module][-1]
        post_migrate.connect(staff_groups.write, sender=last, dispatch_uid="staff groups")

        if settings.SENTRY_DSN:
            from config import error_reports  # and Sentry's SDK with it

            error_reports.start(settings.SENTRY_DSN)
