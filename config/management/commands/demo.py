import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from config.demo import build, history
from config.embedded import write_private


class Command(BaseCommand):
    help = "Fill the database with the demo: customers, people, keys, prices and a history of jobs. Again: no change."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--base-url", default=settings.BASE_URL, help="Where the web server will answer.")
        parser.add_argument(
            "--output",
            type=Path,
            default=settings.VAR_DIR / "demo.json",
            help="Where to write addresses, sign-ins and keys, for the owner's eyes only.",
        )
        parser.add_argument("--days", type=int, default=history.DAYS, help="How long the history is.")

    def handle(self, *args: Any, base_url: str, output: Path, days: int, **options: Any) -> None:
        progress = tqdm(total=days, desc="Making the demo's history", unit=" days", delay=1)
        with progress:
            try:
                demo = build.build(days=days, on_day=progress.update)
            except build.LostSecrets as error:
                raise CommandError(str(error)) from error
        sink = {"webhook_sink": {"url": build.receiver_url()}}
        write_private(output, json.dumps({"base_url": base_url} | demo | sink, indent=2))
