"""Counting rows as far as anybody wants to know, and no further."""

from django.db.models import IntegerField, Subquery


class Counted(Subquery):
    """How many rows a query finds. Slice the query: then no more are looked at, however many there are."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()
