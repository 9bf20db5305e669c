"""Rows for the lists of the back office: some of any model, each with others of its own beside it, or very many."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.utils import timezone

from accounts.ids import new_uid
from accounts.models import Organization
from usage import partitions
from usage.models import UsageRecord

# What a table takes besides the values below.
FITTING: dict[str, dict[str, Any]] = {
    "accounts.note": {"user": None},
    "accounts.apikey": {"kind": "organization", "user": None},
    "accounts.membership": {"role": "member"},
    "accounts.invitation": {"role": "viewer", "accepted_by": None},
    "billing.creditgrant": {"amount": 1, "remaining": 1},
    "webhooks.replay": {"state": "done"},
}
PLAIN: list[tuple[type[models.Field[Any, Any]], Callable[[int], Any]]] = [
    (models.BooleanField, lambda i: False),
    (models.EmailField, lambda i: f"person{i}@example{i}.com"),
    (models.UUIDField, lambda i: None),
    (models.DecimalField, lambda i: Decimal(1 + i % 90)),
    (models.FloatField, float),
    (models.IntegerField, lambda i: 1 + i % 30_000),
    (models.DateTimeField, lambda i: timezone.now() - timedelta(seconds=i % 3600)),
    (models.DateField, lambda i: timezone.now().date()),
    (models.JSONField, lambda i: {}),
    (ArrayField, lambda i: []),
]

ORGANIZATIONS = 200
# No two rows have a value in common, where it is not one of a few.
_numbers = count(1)


def fill(model: Any, many: int) -> list[Any]:
    """Insert rows that differ in everything, so that whatever is looked up for each of them is looked up each time."""
    if model is UsageRecord:
        partitions.ensure([partitions.month_of(timezone.now())])
    fields = [
        field for field in model._meta.concrete_fields if not field.generated and not _is_counted(field)
    ]
    fitting = FITTING.get(model._meta.label_lower, {})
    related = {
        field.name: fill(field.related_model, many)
        for field in fields
        if field.is_relation and field.name not in fitting
    }
    rows = [
        model(
            **{
                field.name: related[field.name][i] if field.name in related else _value(field)
                for field in fields
                if field.name not in fitting
            }
            | fitting
        )
        for i in range(many)
    ]
    return model._default_manager.bulk_create(rows)


def _is_counted(field: "models.Field[Any, Any]") -> bool:
    return isinstance(field, models.AutoField | models.BigAutoField)


def _value(field: "models.Field[Any, Any]") -> Any:
    i = next(_numbers)
    if field.has_default() and not isinstance(field, models.DateTimeField):
        return field.get_default()
    if field.flatchoices:
        return field.flatchoices[i % len(field.flatchoices)][0]
    if field.null:
        return None
    for kind, value in PLAIN:
        if isinstance(field, kind):
            return value(i)
    return f"{field.name}{i}"[-(field.max_length or 40) :]


def multiply(model: type[models.Model], many: int, **values: str) -> None:
    """Insert very many rows like the newest one: of many organizations, each a second older than the one after it.

    `values` are SQL for other columns, in which `n` counts from 1.
    """
    organizations = fill(Organization, ORGANIZATIONS)
    table, columns, selected = model._meta.db_table, [], []
    unique = {name for names in model._meta.unique_together for name in names}
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            unique |= set(constraint.fields)
    for field in model._meta.concrete_fields:
        if _is_counted(field) or field.generated:
            continue
        columns.append(f'"{field.column}"')
        text = isinstance(field, models.CharField | models.TextField)
        if field.column in values:
            selected.append(values[field.column])
        elif field.column == "organization_id":
            selected.append(f"{organizations[0].pk} + n % {ORGANIZATIONS}")
        elif isinstance(field, models.DateTimeField) and not field.null:
            selected.append(f"now() - make_interval(secs => {many} - n)")
        elif field.column == "uid":
            prefix = new_uid("x").removeprefix("x_")[:12]
            selected.append(f"split_part(\"uid\", '_', 1) || '_{prefix}' || lpad(n::text, 8, '0')")
        elif text and not field.is_relation and (field.unique or field.column in unique):
            selected.append(f'left("{field.column}" || n, {field.max_length or 40})')
        else:
            selected.append(f'like_it."{field.column}"')
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{table}" ({", ".join(columns)}) SELECT {", ".join(selected)} '
            f'FROM (SELECT * FROM "{table}" ORDER BY "{model._meta.pk.column}" DESC LIMIT 1) like_it, '
            f"generate_series(1, {many}) n"
        )
        cursor.execute(f'ANALYZE "{table}", accounts_organization')
