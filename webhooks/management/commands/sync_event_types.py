from typing import Any

from django.core.management.base import BaseCommand, CommandError
from svix.exceptions import HttpError, HTTPValidationError

from webhooks import publishing


class Command(BaseCommand):
    help = "Put the catalogue of event types on the Svix server now; `deliver` does so every hour."

    def handle(self, **options: Any) -> None:
        try:
            count = publishing.publish()
        except (HttpError, HTTPValidationError) as error:
            raise CommandError(f"The server did not take them: {error}") from error
        if count:
            self.stdout.write(f"{count} event types are on the server.")
        else:
            self.stdout.write("The embedded engine knows the catalogue: there is nothing to do.")
