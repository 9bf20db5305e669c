from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from webhooks import retention


class Command(BaseCommand):
    help = "Delete messages, deliveries and attempts that are past WEBHOOK_RETENTION_DAYS, as the worker does nightly."

    def handle(self, **options: Any) -> None:
        for what, count in retention.prune(now=timezone.now()).items():
            self.stdout.write(f"{count} {what} deleted.")
