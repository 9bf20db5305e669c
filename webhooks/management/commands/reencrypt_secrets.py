from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from webhooks import encryption
from webhooks.models import Application, Endpoint


class Command(BaseCommand):
    help = (
        "Write every secret of webhooks again under the first of ENCRYPTION_KEYS, so that the others may go."
    )

    def handle(self, **options: Any) -> None:
        count = 0
        for pk in Application.objects.values_list("pk", flat=True).iterator():
            with transaction.atomic():
                application = Application.objects.select_for_update().get(pk=pk)
                application.stored_secret = encryption.renewed(application.stored_secret)
                application.save(update_fields=["stored_secret"])
            count += 1
        for pk in Endpoint.objects.values_list("pk", flat=True).iterator():
            with transaction.atomic():
                endpoint = Endpoint.objects.select_for_update().get(pk=pk)
                endpoint.stored_secret = encryption.renewed(endpoint.stored_secret)
                if endpoint.stored_headers:
                    endpoint.stored_headers = encryption.renewed(endpoint.stored_headers)
                endpoint.old_secrets = [
                    {**old, "secret": encryption.renewed(old["secret"])} for old in endpoint.old_secrets
                ]
                endpoint.save(update_fields=["stored_secret", "stored_headers", "old_secrets"])
            count += 1
        self.stdout.write(f"{count} written again.")
