"""Every list of the back office, however much is in it."""

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.config.rows import fill
from usage.models import CreditRate

every_list = pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
# The price book is all on one page.
each_with_pages = pytest.mark.parametrize(
    "model",
    [model for model in admin.site._registry if model is not CreditRate],
    ids=lambda model: model._meta.label,
)
# Session, person, device; the list itself within a savepoint and a time limit; the sidebar; choices of filters.
MOST_QUERIES = 14


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def read(browser: Client, url: str) -> list[str]:
    """The queries that a page, or all of a file, takes; the second time, for a session begins with more."""
    browser.get(url)
    with CaptureQueriesContext(connection) as queries:
        answer: Any = browser.get(url)
        assert answer.status_code == 200
        if answer.streaming:
            assert b"".join(answer.streaming_content)
    return [query["sql"] for query in queries]


@every_list
def test_a_list_takes_as_many_queries_for_many_rows_as_for_few(
    back_office: Client, model: type[Model]
) -> None:
    fill(model, 5)
    few = read(back_office, list_url(model))

    fill(model, 55)
    many = read(back_office, list_url(model))

    assert len(many) == len(few), "\n".join(many)
    assert len(many) <= MOST_QUERIES, "\n".join(many)
    assert not [query for query in many if "COUNT(*)" in query]


@every_list
def test_a_csv_takes_as_many_queries_for_many_rows_as_for_few(
    back_office: Client, model: type[Model]
) -> None:
    fill(model, 5)
    few = read(back_office, f"{list_url(model)}csv/")

    fill(model, 55)
    many = read(back_office, f"{list_url(model)}csv/")

    assert len(many) == len(few), "\n".join(many)


@each_with_pages
def test_pages_hold_each_row_once_there_and_back(
    back_office: Client, model: type[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin.site._registry[model], "list_per_page", 4)
    fill(model, 9)
    rows = {row.pk for row in model._default_manager.all()}

    there, link = [], ""
    while True:
        listed = back_office.get(list_url(model) + link).context["cl"]
        there.append([row.pk for row in listed.result_list])
        if not listed.next_link:
            break
        link = listed.next_link
    back = [there[-1]]
    while listed.previous_link:
        listed = back_office.get(list_url(model) + listed.previous_link).context["cl"]
        back.append([row.pk for row in listed.result_list])

    found = [pk for page in there for pk in page]
    assert len(found) == len(set(found))
    assert set(found) <= rows
    assert len(found) >= 9
    assert back[::-1] == there


def test_an_empty_list_invites_to_nothing_that_nobody_can_do(back_office: Client) -> None:
    empty = back_office.get(reverse("admin:billing_invoice_changelist")).content.decode()
    searched = back_office.get(reverse("admin:billing_invoice_changelist"), {"q": "in_1"}).content.decode()

    assert "There is nothing here." in empty
    assert "Create a new item" not in empty + searched
    assert "Nothing is found by this search and these filters." in searched
