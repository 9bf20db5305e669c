"""Where Stripe's meter and our reports do not agree, or did not, as CSV."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts import spreadsheets
from billing import metering


class Command(BaseCommand):
    help = "Write the drift between Stripe's meter and our reports as CSV, open ones first."

    def handle(self, **options: Any) -> None:
        for line in spreadsheets.lines(metering.DRIFT_COLUMNS, metering.drift_rows()):
            self.stdout.write(line, ending="")
