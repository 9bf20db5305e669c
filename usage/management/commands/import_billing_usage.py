from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from usage import billing_import
from usage.billing_import import Manifest, Outcome, Refused


class Command(BaseCommand):
    help = (
        "Take in files that export_billing_usage or POST /billing-usage made elsewhere: each is checked against its "
        "manifest, each record counts once, and files that are missing are named. Needs no database but its own file."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "files",
            type=Path,
            nargs="+",
            metavar="FILE",
            help="A file (.csv.gz) with its manifest (.json) beside it, or a folder of such.",
        )
        parser.add_argument(
            "--state",
            type=Path,
            default=settings.VAR_DIR / "billing-usage.sqlite3",
            help="The SQLite file that holds what was taken in. By default %(default)s.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._wrong = 0
        try:
            with billing_import.opened(options["state"]) as state:
                for path, manifest in self._in_order(options["files"]):
                    self._take_in(state, path, manifest)
                self._print_totals(billing_import.totals(state))
                gaps = billing_import.gaps(state)
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped. Whole files stay; the same command goes on.", returncode=130
            ) from None
        for series, numbers in gaps.items():
            self.stderr.write(f"Missing of {series}: {_ranges(numbers)}")
        if gaps:
            self.stderr.write(
                "Files that POST /billing-usage made are counted with those of the command, but are in no folder. "
                "Whoever sent these finds links to each, by its number, in the admin under “Billing export files”."
            )
        if self._wrong or gaps:
            missing = sum(map(len, gaps.values()))
            raise CommandError(
                f"{self._wrong:,} files were refused or contradict others, {missing:,} are missing."
            )

    def _in_order(self, paths: list[Path]) -> list[tuple[Path, Manifest]]:
        """The files with their manifests, by number, without those that lack one."""
        found = []
        for path in _files(paths):
            try:
                found.append((path, billing_import.read_manifest(path)))
            except Refused as error:
                self._refuse(path, error)
        return sorted(found, key=lambda each: (each[1].series, each[1].number))

    def _take_in(self, state: Any, path: Path, manifest: Manifest) -> None:
        try:
            with tqdm(
                total=manifest.records, unit=" records", unit_scale=True, desc=path.name, leave=False
            ) as progress:
                outcome = billing_import.take_in(state, path, manifest, on_rows=progress.update)
        except Refused as error:
            self._refuse(path, error)
            return
        self.stdout.write(f"{path.name}: {_in_words(outcome)}")
        if outcome.replaces or outcome.contradictions:
            self._wrong += 1

    def _refuse(self, path: Path, error: Refused) -> None:
        self._wrong += 1
        self.stderr.write(f"{path.name} is refused: {error}")

    def _print_totals(self, totals: list[billing_import.Total]) -> None:
        self.stdout.write(f"{'from':<26} {'type':<10} {'records':>14} {'pages':>16}  first and last")
        for total in totals:
            self.stdout.write(
                f"{total.series:<26} {total.type:<10} {total.records:>14,} {total.pages:>16,}  "
                f"{total.first} {total.last}"
            )
        records, pages = sum(total.records for total in totals), sum(total.pages for total in totals)
        self.stdout.write(f"{'all':<26} {'':<10} {records:>14,} {pages:>16,}")


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.csv.gz"))
        elif not path.exists():
            raise CommandError(f"There is no {path}.")
        elif path.name.endswith(".csv.gz"):
            yield path
        elif path.suffix not in (".json", ".txt"):  # what lies beside the files
            raise CommandError(f"{path} is no file of the billing export: those end in .csv.gz.")


def _in_words(outcome: Outcome) -> str:
    if outcome.is_known:
        return "taken in before, skipped"
    words = f"{outcome.new:,} new records"
    if outcome.known:
        words += f", {outcome.known:,} duplicates"
    if outcome.contradictions:
        words += f", of which {outcome.contradictions:,} CONTRADICT what was known, which stands"
    if outcome.replaces:
        words += (
            f"; number {outcome.manifest.number} WAS ANOTHER FILE before ({outcome.replaces}): "
            "was a database put back?"
        )
    return words


def _ranges(numbers: list[int]) -> str:
    """Numbers as people write them: 3, 5–7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("–".join(map(str, run)) for run in runs)
