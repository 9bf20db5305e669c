"""The shapes of what the data plane sends, checked by msgspec as they are decoded.

Also the rules that a shape cannot say; a `Checker` names the first one broken, with the field.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

MAX_JOBS = 10_000
MAX_AHEAD = timedelta(minutes=5)
MOST_PAGES = 10_000_000
MOST_QUANTITY = 1_000_000_000
# Deeper JSON is nobody's configuration, and more than some reader of it could follow.
MAX_DEPTH = 100

# A usage item of this form would be mistaken for a correction of ours.
CORRECTION = "correction:"

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Word = Annotated[str, Meta(max_length=32)]
Pages = Annotated[int, Meta(ge=0, le=MOST_PAGES)]
Time = Annotated[datetime, Meta(tz=True)]
Channel = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\-_.]{1,128}$")]


class UsageItem(Struct, frozen=True, omit_defaults=True):
    """One metered fact of a job. `pages` counts pages, `quantity` what the rate's unit counts (cells, charts)."""

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)]
    product: Literal["parse", "extract", "split", "edit", "classify", "pipeline"]
    feature: Literal[
        "standard",
        "complex",
        "agentic",
        "agentic_complex",
        "text",
        "spreadsheet",
        "spreadsheet_accurate",
        "chart",
        "deep",
    ]
    file_type: Annotated[str, Meta(min_length=1, max_length=32)]
    pages: Pages
    timestamp: Time
    quantity: Decimal | None = None
    priority: Literal["standard", "batch"] | None = None
    attributes: dict[str, Any] | None = None


class SvixWebhook(Struct, frozen=True, omit_defaults=True, tag_field="mode", tag="svix"):
    """To the organization's endpoints; with channels, only to those listening on one of them.

    Some calls give the job's metadata here.
    """

    channels: Annotated[list[Channel], Meta(max_length=5)] | None = None
    metadata: Any = None


class DirectWebhook(Struct, frozen=True, omit_defaults=True, tag_field="mode", tag="direct"):
    """To this address alone. Metadata as with `SvixWebhook`."""

    url: Annotated[str, Meta(max_length=2048)]
    metadata: Any = None


class DisabledWebhook(Struct, frozen=True, tag_field="mode", tag="disabled"):
    """To nobody."""


Webhook = SvixWebhook | DirectWebhook | DisabledWebhook | None


class JobReport(Struct, frozen=True, omit_defaults=True):
    """The state of a job as the data plane knows it. `duration` is in seconds."""

    job_id: Id
    api_key_id: Annotated[str, Meta(min_length=1, max_length=40)]
    type: Literal["Parse", "Extract", "Split", "Edit", "Pipeline", "Classify"]
    status: Literal["Pending", "InProgress", "Completing", "Completed", "Failed", "Idle", "Cancelled"]
    created_at: Time
    duration: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    num_pages: Pages | None = None
    total_pages: Pages | None = None
    region: Word | None = None
    source: Any = None
    config: dict[str, Any] | None = None
    webhook: Webhook = None
    metadata: Any = None
    error: Any = None
    usage: Annotated[list[UsageItem], Meta(max_length=1000)] = []


class Rejected(Struct, frozen=True):
    """Why one report of a batch was refused; `index` counts from 0."""

    index: int
    code: str
    message: str


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

encode = msgspec.json.Encoder().encode
_decode_report = msgspec.json.Decoder(JobReport).decode


class Batch(Struct):
    """The body of `POST /api/v1/gateway/jobs`."""

    jobs: list[JobReport]


class RawBatch(Struct):
    """The same with each report still undecoded, so that a bad one harms no other."""

    jobs: list[msgspec.Raw]


_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_raw_batch = msgspec.json.Decoder(RawBatch).decode

Item = JobReport | Rejected


class BadBatch(Exception):
    """The body as a whole cannot be read. `param` names the field at fault, if it is one."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def _one(index: int, raw: bytes | msgspec.Raw) -> Item:
    try:
        return _decode_report(raw)
    except msgspec.ValidationError as error:
        return Rejected(index, "invalid_report", str(error))
    except _UNREADABLE as error:
        return Rejected(index, "invalid_report", f"Malformed JSON: {error}")


def read_json(body: bytes) -> list[Item]:
    """Decode `{"jobs": […]}`. Raises `BadBatch` when it is not that, or holds more than 10,000 reports."""
    try:
        items: list[Item] = list(_decode_batch(body).jobs)
    except _UNREADABLE:
        return _read_one_by_one(body)
    _check_count(len(items))
    return items


def _read_one_by_one(body: bytes) -> list[Item]:
    try:
        raws: Sequence[bytes | msgspec.Raw] = _decode_raw_batch(body).jobs
    except _UNREADABLE as error:
        raws = _read_leniently(body)
        if not raws:
            raise BadBatch(f'The body must be {{"jobs": [...]}}: {error}', "jobs") from None
    _check_count(len(raws))
    return [_one(index, raw) for index, raw in enumerate(raws)]


def _read_leniently(body: bytes) -> list[bytes]:
    """The reports of a batch that only the stricter decoder finds malformed, such as by half a surrogate pair."""
    try:
        jobs = json.loads(body)["jobs"]
        return [json.dumps(job).encode() for job in jobs] if isinstance(jobs, list) else []
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def read_ndjson(body: bytes) -> list[Item]:
    """Decode one report a line; blank lines do not count. Raises `BadBatch` for more than 10,000 reports."""
    if body.count(b"\n") > 2 * MAX_JOBS:
        raise BadBatch(f"At most {MAX_JOBS:,} job reports at once, and as many blank lines.", "jobs")
    lines = [line for line in body.split(b"\n") if line.strip()]
    _check_count(len(lines))
    return [_one(index, line) for index, line in enumerate(lines)]


def _check_count(count: int) -> None:
    if count > MAX_JOBS:
        raise BadBatch(f"At most {MAX_JOBS:,} job reports at once, not {count:,}.", "jobs")


# PostgreSQL stores neither NUL nor half a surrogate pair; JSON can spell both.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Checker:
    """The rules that a shape cannot say, for the reports of one batch that came in at `now`."""

    def __init__(self, now: datetime) -> None:
        self._latest = now + MAX_AHEAD
        self._days = settings.USAGE_ACCEPT_DAYS
        self._earliest = now - timedelta(days=self._days)

    def problem(self, report: JobReport, encoded: bytes) -> tuple[str, str] | None:
        """The code and message of the first rule this report, which encodes as `encoded`, breaks; or None."""
        if b"\\u0000" in encoded and _NUL.search(encoded):
            return "invalid_report", "Text must not contain the character U+0000."
        if _depth(encoded) > MAX_DEPTH:
            return "invalid_report", f"JSON must not be nested more than {MAX_DEPTH} deep."
        if not {".", ".."}.isdisjoint(report.job_id.split("/")):  # clients fold them out of the path of a URL
            return "invalid_report", "`job_id` must not be `.` or `..`, nor have them between slashes."
        if isinstance(report.webhook, DirectWebhook) and not _is_http(report.webhook.url):
            return (
                "invalid_report",
                "`webhook.url` must be an http or https address without user name or password.",
            )
        if not self._earliest <= report.created_at <= self._latest:
            return self._out_of_range("created_at", report.created_at)
        for index, item in enumerate(report.usage):
            if not self._earliest <= item.timestamp <= self._latest:
                return self._out_of_range(f"usage[{index}].timestamp", item.timestamp)
            if item.idempotency_key.startswith(CORRECTION):
                return (
                    "invalid_report",
                    f"`usage[{index}].idempotency_key` must not begin with `{CORRECTION}`.",
                )
            if item.quantity is not None and not is_quantity(item.quantity):
                return "invalid_report", f"`usage[{index}].quantity` must be from 0 to {MOST_QUANTITY:,}."
        return None

    def _out_of_range(self, field: str, time: datetime) -> tuple[str, str]:
        if time > self._latest:
            return "timestamp_out_of_range", f"`{field}` is more than 5 minutes ahead."
        return "timestamp_out_of_range", f"`{field}` is more than {self._days:,} days old."


_STRING = re.compile(rb'"(?:[^"\\\\]|\\\\.)*"')


def _depth(encoded: bytes) -> int:
    """How deep this JSON is nested, or a number no smaller where that is within the limit anyway."""
    depth = encoded.count(b"[") + encoded.count(b"{")
    if depth <= MAX_DEPTH:
        return depth
    deepest = depth = 0
    for character in _STRING.sub(b"", encoded):
        if character in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in b"]}":
            depth -= 1
    return deepest


def is_quantity(number: Decimal) -> bool:
    """Whether a usage item may have it: not NaN, nor with so many decimals that nobody measured it."""
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent > -100 and 0 <= number <= MOST_QUANTITY


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return is_http and parts.username is None  # a password would be shown wherever the address is
    except ValueError:
        return False
