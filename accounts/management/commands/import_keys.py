from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import key_import

FAULTS_SHOWN = 50


class Command(BaseCommand):
    help = "Import API keys made elsewhere, by their SHA-256, from a CSV file. All of them, or none if any is refused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            type=Path,
            help=f"A CSV with the columns {', '.join(key_import.REQUIRED)}, and any of "
            f"{', '.join(key_import.OPTIONAL)}.",
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                imported = key_import.import_keys(lines, actor=None)
        except OSError as error:
            raise CommandError(f"Nothing was imported. {file}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise CommandError("Nothing was imported. The file is not UTF-8.") from None
        except key_import.Refused as refused:
            shown, rest = refused.faults[:FAULTS_SHOWN], len(refused.faults) - FAULTS_SHOWN
            more = [f"… and {rest} more."] if rest > 0 else []
            raise CommandError("\n".join(["Nothing was imported.", *shown, *more])) from None
        self.stdout.write(f"New keys: {imported.new}. Known before: {imported.known}.")
