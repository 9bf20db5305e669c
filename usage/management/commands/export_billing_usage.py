from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from usage import billing_export, billing_handover


class Command(BaseCommand):
    help = (
        "Export all usage that is stored for billing (STORE_USAGE_FOR_BILLING=yes) to files of a folder, each with its "
        "manifest, and delete from the database what is safely stored. After an interruption, the same command goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder",
            type=Path,
            nargs="?",
            default=settings.VAR_DIR / "billing-usage",
            help="Where to put the files; a folder of its own. By default %(default)s.",
        )
        parser.add_argument(
            "--count",
            type=_count,
            default=billing_export.DEFAULT_COUNT,
            help="The most records of a file; 1,000,000 by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.STORE_USAGE_FOR_BILLING:
            raise CommandError(billing_export.SWITCHED_OFF)
        try:
            gone = self._fetch_rest(options["folder"])
            self._export(options["folder"], options["count"])
        except (billing_export.AlreadyRunning, billing_export.NotStored, billing_export.Gone) as error:
            raise CommandError(f"{error} Run the same command again: it goes on.") from error
        except OSError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped, and nothing is lost: the same command goes on.", returncode=130
            ) from None
        if gone:
            raise CommandError(
                f"{len(gone)} files are no longer in the storage and could not be fetched: {', '.join(gone)}. "
                "Have them restored, or look for whoever fetched them before."
            )

    def _fetch_rest(self, folder: Path) -> list[str]:
        """Fetch what an interrupted run left behind. Returns the names of files that are gone."""
        gone = []
        for file in billing_handover.missing(folder):
            try:
                path = billing_handover.fetch(folder, file)
            except billing_export.Gone:
                gone.append(file.name)
            else:
                self.stdout.write(f"{path}  {file.num_records:,} records, made before")
        return gone

    def _export(self, folder: Path, count: int) -> None:
        files = records = 0
        with tqdm(total=billing_handover.waiting(), unit=" records", unit_scale=True) as progress:
            for file, path in billing_handover.export(folder, count=count, on_rows=progress.update):
                files += 1
                records += file.num_records
                with progress.external_write_mode(file=self.stdout):
                    self.stdout.write(f"{path}  {file.num_records:,} records")
        if files:
            self.stdout.write(f"{records:,} records in {files:,} files. Hand over all of {folder}.")
        else:
            self.stdout.write(f"Nothing is left to export. What was is in {folder}.")


def _count(text: str) -> int:
    count = int(text.replace(",", "").replace("_", ""))
    if not 1 <= count <= billing_export.MAX_COUNT:
        raise ArgumentTypeError(f"from 1 to {billing_export.MAX_COUNT:,}")
    return count
