from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts import keys
from accounts.permissions import ServicePermission


class Command(BaseCommand):
    help = "Make a key for the data plane. The key is printed once and kept nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="What will use it, such as `parser fleet`.")
        parser.add_argument(
            "--scope",
            action="append",
            choices=ServicePermission.values,
            help="What it may do; may be given several times. Everything by default.",
        )

    def handle(self, *args: Any, name: str, scope: list[str] | None, **options: Any) -> None:
        key, secret = keys.create_service_key(name=name, scopes=scope)
        self.stderr.write(f"{key.uid} ({key.name}) may: {', '.join(key.scopes)}. Shown once:")
        self.stdout.write(secret)
