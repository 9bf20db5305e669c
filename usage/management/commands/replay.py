import asyncio
import json
import math
import os
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from usage import traces
from usage.gateway_client import Client, Refused, Unreachable
from usage.pricing import PriceBook
from usage.replay import CONNECTIONS, Account, Outcome, Replay, Totals
from usage.traces import NotATrace, Trace


class Command(BaseCommand):
    help = (
        "Send a trace of requests (CSV: TIMESTAMP, ContextTokens, GeneratedTokens) through the API as a data plane "
        "would: verify each with the organization's key, then report it as a Parse job. Ends with an error unless the "
        "usage export agrees with what was sent. The same file again adds nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--speed",
            type=_speed,
            default=math.inf,
            help="Times real time, such as 1 or 60; as fast as possible by default.",
        )
        parser.add_argument(
            "--organization", metavar="ID", help="Of the demo's organizations; the first one by default."
        )
        parser.add_argument(
            "--now", action="store_true", help="Shift all timestamps so that the last request ends now."
        )
        parser.add_argument(
            "--webhooks", action="store_true", help="Notify the organization's endpoints of each job."
        )
        parser.add_argument("--base-url", help="Of an installation other than the demo on this machine.")
        parser.add_argument("--gateway-key", help="A service key; better given as GATEWAY_KEY.")
        parser.add_argument("--api-key", help="The organization's key; better given as API_KEY.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            trace = traces.survey(options["file"], on_malformed=self._name_malformed)
            base_url, gateway_key, api_key = _address_and_keys(options)
            # Read now: the rest is asynchronous, and the database is not.
            book = PriceBook.current()
            are_equal = asyncio.run(
                self._replay(
                    trace, book, options, base_url=base_url, gateway_key=gateway_key, api_key=api_key
                )
            )
        except (NotATrace, Unreachable, Refused) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped. What was sent stays; the same command again sends the rest.", returncode=130
            ) from None
        if not are_equal:
            raise CommandError("The usage export differs from what was sent.")

    async def _replay(
        self,
        trace: Trace,
        book: PriceBook,
        options: dict[str, Any],
        *,
        base_url: str,
        gateway_key: str,
        api_key: str,
    ) -> bool:
        async with (
            Client(base_url=base_url, key=gateway_key, connections=CONNECTIONS) as gateway,
            Client(base_url=base_url, key=api_key) as customer,
        ):
            account = await _account(customer, api_key, options["organization"])
            replay = Replay(trace, account=account, book=book, webhooks=options["webhooks"])
            wanted = datetime.now(UTC) - trace.end if options["now"] else timedelta()
            remembered = await replay.remembered_shift(customer)
            replay.shift = wanted if remembered is None else remembered
            start, end = trace.start + replay.shift, trace.end + replay.shift
            self.stdout.write(
                f"{trace.path.name}: {trace.requests:,} requests of {account.organization_id}, "
                f"as of {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"
            )
            if remembered is not None:
                self.stdout.write(
                    "This file was replayed for this organization before: its timestamps stay those of the first time."
                )
            with tqdm(total=trace.requests, unit=" requests") as progress:
                await replay.play(gateway, speed=options["speed"], on_report=progress.update)
            exported = await replay.exported(customer)
        self._print_outcome(trace, replay.outcome)
        self._print_totals(replay.outcome.totals, exported)
        return replay.outcome.totals == exported

    def _name_malformed(self, line: int, reason: str) -> None:
        self.stderr.write(f"Line {line} is skipped: {reason}.")

    def _print_outcome(self, trace: Trace, outcome: Outcome) -> None:
        for line, code, message in outcome.rejected:
            self.stderr.write(f"Line {line} was rejected: {code}: {message}")
        verdicts = ", ".join(f"{code} {count:,}" for code, count in outcome.verdicts.most_common())
        self.stdout.write(f"Verdicts: {verdicts}")
        self.stdout.write(
            f"Reports: {outcome.accepted:,} accepted, {outcome.duplicates:,} duplicates, "
            f"{len(outcome.rejected):,} rejected; {trace.malformed:,} malformed lines skipped"
        )

    def _print_totals(self, sent: Totals, exported: Totals) -> None:
        self.stdout.write(f"{'':<10} {'requests':>12} {'pages':>12} {'credits':>18}")
        for name, totals in {"as sent": sent, "exported": exported}.items():
            credits = f"{totals.credits.normalize():,f}"
            self.stdout.write(f"{name:<10} {totals.requests:>12,} {totals.pages:>12,} {credits:>18}")
        self.stdout.write("Equal." if sent == exported else "They differ.")


def _speed(text: str) -> float:
    speed = float(text)
    if not speed > 0:
        raise ArgumentTypeError("a number above 0")
    return speed


def _address_and_keys(options: dict[str, Any]) -> tuple[str, str, str]:
    """Address, gateway key and the organization's key: as given, otherwise of the demo on this machine."""
    path = settings.VAR_DIR / "demo.json"
    demo = json.loads(path.read_text()) if path.exists() else {}
    base_url = options["base_url"] or demo.get("base_url") or settings.BASE_URL
    gateway_key = options["gateway_key"] or os.environ.get("GATEWAY_KEY") or demo.get("gateway_key")
    api_key = options["api_key"] or os.environ.get("API_KEY")
    if not api_key and demo:
        api_key = _demo_key(demo["organizations"], options["organization"])
    if not gateway_key or not api_key:
        raise CommandError(
            f"No demo is running ({path} is not there). Start it by `make run`, or name an installation by "
            "--base-url and the keys by GATEWAY_KEY and API_KEY."
        )
    return base_url, gateway_key, api_key


def _demo_key(organizations: list[dict[str, Any]], uid: str | None) -> str:
    if uid is None:
        return str(organizations[0]["api_key"])
    for organization in organizations:
        if organization["id"] == uid:
            return str(organization["api_key"])
    names = ", ".join(f"{organization['id']} ({organization['name']})" for organization in organizations)
    raise CommandError(f"The demo has no organization {uid}, but {names}. For another one give its API_KEY.")


async def _account(customer: Client, api_key: str, organization_id: str | None) -> Account:
    who = await customer.get("/api/v1/api-keys/whoami")
    account = Account(api_key, api_key_id=who["id"], organization_id=who["organization"]["id"])
    if organization_id not in (None, account.organization_id):
        raise CommandError(f"The API key belongs to {account.organization_id}, not to {organization_id}.")
    return account
