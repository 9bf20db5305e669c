from typing import Any

import stripe
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing import catalogue


class Command(BaseCommand):
    help = (
        "Bring Stripe to what the database says: plans, packs, meter, portal, and where its events are sent."
    )

    def handle(self, *args: Any, verbosity: int, **options: Any) -> None:
        try:
            catalogue.sync(say=lambda line: self.stdout.write(line) if verbosity else None)
        except stripe.StripeError as error:
            raise CommandError(
                f"Stripe at {settings.STRIPE_API_BASE} did not do it: {error.user_message or error}. "
                "What was done stays; run it again."
            ) from error
