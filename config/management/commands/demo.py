import base64
import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_otp.oath import totp
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
        parser.add_argument(
            "--code",
            action="store_true",
            help="Only print the one-time code of the demo's staff at this moment.",
        )

    def handle(self, *args: Any, base_url: str, output: Path, days: int, code: bool, **options: Any) -> None:
        if code:
            self.stdout.write(_staff_code())
            return
        progress = tqdm(total=days, desc="Making the demo's history", unit=" days", delay=1)
        with progress:
            try:
                demo = build.build(days=days, on_day=progress.update)
            except build.LostSecrets as error:
                raise CommandError(str(error)) from error
        sink = {"webhook_sink": {"url": build.receiver_url()}}
        write_private(output, json.dumps({"base_url": base_url} | demo | sink, indent=2))


def _staff_code() -> str:
    try:
        demo = json.loads((settings.VAR_DIR / "demo.json").read_text())
    except FileNotFoundError as error:
        raise CommandError("The demo is not running: `make run` starts it.") from error
    secret = base64.b32decode(demo["staff"]["totp_secret"])
    return f"{totp(secret):06}"
