"""How each record came to its credits and its cost, in words: from the record and the line of the price book it names.

Published rates never change, so an old charge is explained as well as a new one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from usage import corrections
from usage.models import CreditRate, Entitlement, Job, JobStatus, UsageRecord
from usage.price_list import UNITS, dollars, plain
from usage.pricing import UNIT_SIZES, Rate, charge, credit_price, units

Unit = CreditRate.Unit


@dataclass(frozen=True)
class Charge:
    """A usage record, and how its credits and its list cost came about, each in a sentence.

    `corrected_by` is what takes the record back; `is_amended` says that another stands in for it.
    """

    record: UsageRecord
    rate: CreditRate | None
    unit: str
    credits: str
    cost: str
    is_void: bool
    corrected_by: UsageRecord | None
    is_amended: bool


def rates(records: Iterable[UsageRecord]) -> dict[int, CreditRate]:
    """The lines of the price book that these records were charged by."""
    return CreditRate.objects.in_bulk({record.rate_id for record in records if record.rate_id is not None})


def explained(job: Job, records: Sequence[UsageRecord]) -> list[Charge]:
    """The charges of a job, each followed by what corrects it."""
    found = rates(records)
    prices = Entitlement.objects.filter(organization_id=job.organization_id)
    price = prices.values_list("credit_price", flat=True).first() or Decimal(0)
    following: dict[str, list[UsageRecord]] = {}
    for record in records:
        following.setdefault(record.corrects, []).append(record)
    keys = {record.idempotency_key for record in records}

    charges: list[Charge] = []
    waiting = [record for record in reversed(records) if record.corrects not in keys]
    while waiting:
        record = waiting.pop()
        corrected = following.get(record.idempotency_key, [])
        waiting.extend(reversed(corrected))
        rate = found.get(record.rate_id) if record.rate_id is not None else None
        charges.append(
            Charge(
                record=record,
                rate=rate,
                unit=UNITS[Unit(rate.unit)][0] if rate else "",
                credits=_credits(record, rate, job),
                cost=_cost(record, price),
                is_void=corrections.is_void(record),
                corrected_by=next(filter(corrections.is_void, corrected), None),
                is_amended=not all(map(corrections.is_void, corrected)),
            )
        )
    return charges


def _credits(record: UsageRecord, rate: CreditRate | None, job: Job) -> str:
    if corrections.is_void(record):
        return f"{_signed(record.credits)} credits: takes back the record {record.corrects}."
    if rate is None:
        return f"0 credits: no price was in force for {_line(record)} at that time."
    credits = charge(Rate.of(rate), pages=record.pages, quantity=record.quantity, priority=record.priority)
    if credits == record.credits:
        return _sum(record, rate, credits)
    if job.status == JobStatus.FAILED and not record.credits:
        return "0 credits: the job failed, and failed jobs are not charged."
    return f"{_count(record.credits)} were recorded."


def _sum(record: UsageRecord, rate: CreditRate, credits: Decimal) -> str:
    """As in: 12,300 cells begin 3 times 5,000 cells: 3 × 1 credit = 3 credits."""
    one, many, _ = UNITS[Unit(rate.unit)]
    size = UNIT_SIZES.get(rate.unit)
    used = Decimal(record.pages) if size is None else record.quantity or Decimal(0)
    begun = units(rate.unit, pages=record.pages, quantity=record.quantity)
    words = f"{plain(used)} {one if used == 1 and not _is_many(size) else many}"
    if _is_many(size):
        words += f" begin {plain(begun)} times {one}: {plain(begun)}"
    words += f" × {_count(rate.credits_per_unit)}"
    exact = begun * rate.credits_per_unit
    if record.priority == "batch" and rate.batch_factor != 1:
        exact *= rate.batch_factor
        words += f" × {plain(rate.batch_factor)} for batch priority"
    if exact < rate.minimum_credits:
        return (
            f"{words} = {_count(exact)}, less than the minimum of {_count(credits)} a record, which applies."
        )
    return f"{words} {'=' if exact == credits else '≈'} {_count(credits)}."


def _is_many(size: int | None) -> bool:
    return size is not None and size > 1


def _cost(record: UsageRecord, price: Decimal) -> str:
    """As in: 12 credits × $0.015 = $0.18."""
    if not record.credits:
        return ""
    price = credit_price(record.credits, record.cost, now=price)
    sign = "=" if record.credits * price == record.cost else "≈"
    return f"{_count(record.credits)} × {dollars(price)} {sign} {dollars(record.cost)} at list price."


def _line(record: UsageRecord) -> str:
    return f"{record.get_product_display()}, {record.get_feature_display()}"


def _count(credits: Decimal) -> str:
    return f"{_signed(credits)} credit{'' if credits == 1 else 's'}"


def _signed(value: Decimal) -> str:
    return plain(value).replace("-", "−")
