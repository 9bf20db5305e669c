"""Jobs as the customers of a document API send them: what kind, how large, how long, with which configuration."""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from usage.models import Feature, JobStatus, JobType, Product
from usage.reports_in import JobReport, UsageItem

TYPES = {
    JobType.PARSE: 54,
    JobType.EXTRACT: 26,
    JobType.SPLIT: 7,
    JobType.CLASSIFY: 6,
    JobType.PIPELINE: 4,
    JobType.EDIT: 3,
}
PRODUCTS: dict[JobType, Any] = {
    JobType.PARSE: Product.PARSE,
    JobType.EXTRACT: Product.EXTRACT,
    JobType.SPLIT: Product.SPLIT,
    JobType.CLASSIFY: Product.CLASSIFY,
    JobType.PIPELINE: Product.PIPELINE,
    JobType.EDIT: Product.EDIT,
}
FILE_TYPES = {"pdf": 66, "docx": 10, "jpg": 7, "png": 6, "tiff": 4, "pptx": 3, "html": 2, "txt": 2}
IMAGES = ("jpg", "png")
PARSE_FEATURES = {
    Feature.STANDARD: 70,
    Feature.COMPLEX: 16,
    Feature.AGENTIC: 10,
    Feature.AGENTIC_COMPLEX: 4,
}
SECONDS_PER_PAGE = {
    JobType.PARSE: 0.5,
    JobType.EXTRACT: 0.9,
    JobType.SPLIT: 0.35,
    JobType.CLASSIFY: 0.08,
    JobType.PIPELINE: 1.3,
    JobType.EDIT: 0.8,
}
ERRORS = [
    "The document is encrypted; give its password in options.password.",
    "The file is damaged: its cross-reference table could not be read.",
    "The address in source answered 403. Is the link still valid?",
    "The address in source did not answer within 30 seconds.",
    "Page 7 is larger than 10,000 by 10,000 pixels and was not rendered.",
    "The schema allows no value for field total_amount on page 2.",
    "The file is empty.",
]
FAILED = 0.021
CANCELLED = 0.003


@dataclass(frozen=True, eq=False)
class Work:
    """What a customer's documents are like. `pages` is the median of a document; regions have weights."""

    folder: str
    kinds: tuple[str, ...]
    pages: float
    regions: dict[str, int]
    instructions: tuple[str, ...]
    fields: tuple[str, ...]


def job(
    rng: random.Random, work: Work, *, api_key_id: str, created_at: datetime, batch: bool = False
) -> JobReport:
    """A finished job with all that a data plane tells of it. The same `rng` state makes the same job."""
    kind = _pick(rng, TYPES)
    file_type = _pick(rng, FILE_TYPES)
    total_pages = 1 if file_type in IMAGES else min(600, 1 + int(rng.lognormvariate(0, 0.9) * work.pages))
    pages = total_pages if rng.random() < 0.9 else rng.randint(1, total_pages)
    name = rng.choice(work.kinds)
    number = rng.randint(10_000, 99_999)
    region = _pick(rng, work.regions)
    luck = rng.random()
    status: Any = JobStatus.COMPLETED
    if luck < FAILED:
        status = JobStatus.FAILED
    elif luck < FAILED + CANCELLED:
        status = JobStatus.CANCELLED
    job_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    items = [
        UsageItem(
            idempotency_key=f"{job_id}:{position}",
            product=PRODUCTS[kind],
            feature=feature,
            file_type=file_type,
            pages=count,
            timestamp=created_at,
            priority="batch" if batch else "standard",
        )
        for position, (feature, count) in enumerate(_features(rng, kind, file_type, pages).items())
    ]
    return JobReport(
        job_id=job_id,
        api_key_id=api_key_id,
        type=kind.value,
        status=status,
        created_at=created_at,
        duration=round(0.4 + SECONDS_PER_PAGE[kind] * pages * rng.lognormvariate(0, 0.4), 3),
        num_pages=pages,
        total_pages=total_pages,
        region=region,
        source=f"s3://{work.folder}/{created_at:%Y/%m}/{name}-{number}.{file_type}",
        config=rng.choice(configurations(work)[kind]),
        metadata={"reference": f"{name[:3].upper()}-{number}"} if rng.random() < 0.7 else None,
        error=rng.choice(ERRORS) if status is JobStatus.FAILED else None,
        usage=[] if status is JobStatus.CANCELLED else items,
    )


def _features(rng: random.Random, kind: JobType, file_type: str, pages: int) -> dict[Any, int]:
    """How many pages were worked on with which feature. Now and then a few pages are harder than the others."""
    if kind is not JobType.PARSE:
        return {Feature.STANDARD.value: pages}
    if file_type in ("txt", "html"):
        return {Feature.TEXT.value: pages}
    feature = _pick(rng, PARSE_FEATURES)
    if feature is Feature.STANDARD and pages > 3 and rng.random() < 0.15:
        hard = rng.randint(1, pages // 3)
        return {Feature.STANDARD.value: pages - hard, Feature.COMPLEX.value: hard}
    return {feature.value: pages}


def _pick(rng: random.Random, weights: dict[Any, int]) -> Any:
    return rng.choices(list(weights), list(weights.values()))[0]


@cache
def configurations(work: Work) -> dict[JobType, list[dict[str, Any]]]:
    """The configurations that this customer's programs use: a handful of each type, as they sit in their code."""
    rng = random.Random(f"configurations of {work.folder}")
    return {
        JobType.PARSE: [_parse(rng) for _ in range(7)],
        JobType.EXTRACT: [_extract(rng, work) for _ in range(6)],
        JobType.SPLIT: [_split(rng, work.kinds) for _ in range(3)],
        JobType.CLASSIFY: [{"labels": list(work.kinds), "allow_unknown": allow} for allow in (True, False)],
        JobType.PIPELINE: [
            {"steps": [{"parse": _parse(rng)}, {"extract": _extract(rng, work)}]} for _ in range(3)
        ],
        JobType.EDIT: [
            {"instructions": "Fill in the form with the values in metadata.", "keep_layout": True},
            {
                "instructions": "Black out names and account numbers.",
                "keep_layout": True,
                "mark_changes": True,
            },
        ],
    }


def _parse(rng: random.Random) -> dict[str, Any]:
    config: dict[str, Any] = {
        "options": {
            "ocr": rng.choice(["auto", "always", "never"]),
            "languages": rng.choice([["en"], ["en", "de"], ["en", "es", "fr"]]),
            "tables": rng.choice(["html", "markdown", "csv"]),
        },
        "output": {"format": rng.choice(["markdown", "blocks"]), "include_positions": rng.random() < 0.5},
    }
    if rng.random() < 0.6:
        config["chunks"] = {
            "by": rng.choice(["section", "page", "length"]),
            "max_characters": rng.choice([800, 1200, 2000]),
        }
    if rng.random() < 0.4:
        config["figures"] = {"describe": True, "return_images": rng.random() < 0.5}
    if rng.random() < 0.3:
        config["options"]["pages"] = rng.choice(["1-10", "1-3", "2-"])
    return config


def _extract(rng: random.Random, work: Work) -> dict[str, Any]:
    chosen = rng.sample(work.fields, k=min(len(work.fields), rng.randint(3, 6)))
    return {
        "instructions": rng.choice(work.instructions),
        "schema": {
            "type": "object",
            "properties": {name: _field(name) for name in chosen},
            "required": chosen[:2],
        },
        "citations": rng.random() < 0.5,
        "confidence": rng.choice(["none", "field", "document"]),
    }


def _field(name: str) -> dict[str, Any]:
    if name.endswith(("amount", "total", "premium")):
        return {"type": "number", "description": "With two decimals, without the currency."}
    if name.endswith("date"):
        return {"type": "string", "format": "date"}
    if name.endswith("items"):
        return {
            "type": "array",
            "items": {"type": "object", "properties": {"description": {"type": "string"}}},
        }
    return {"type": "string"}


def _split(rng: random.Random, kinds: tuple[str, ...]) -> dict[str, Any]:
    return {
        "sections": [
            {"name": kind, "description": f"Pages that belong to one {kind.replace('-', ' ')}."}
            for kind in rng.sample(kinds, k=min(len(kinds), 3))
        ],
        "overlap": rng.random() < 0.3,
    }
