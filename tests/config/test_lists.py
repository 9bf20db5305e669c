"""Every list of the back office, however much is in it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization
from tests.config.rows import fill
from usage.models import CreditRate
from webhooks.models import Delivery, Endpoint, Message

every_list = pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
# The price book is all on one page.
each_with_pages = pytest.mark.parametrize(
    "model",
    [model for model in admin.site._registry if model is not CreditRate],
    ids=lambda model: model._meta.label,
)
# Session, person, device; the list itself within a savepoint and a time limit; the sidebar; choices of filters.
MOST_QUERIES = 14


# What nobody is led to, but anybody can type into an address.
WEIRD = [
    {"after": "[" * 100_000},
    {"after": "[5,5]"},
    {"after": '["5",{"a":5}]'},
    {"after": f'["{10**30}"]'},
    {"after": '["0001-01-01T00:00:00+14:00","1"]'},
    {"before": '["a\\u0000"]'},
    {"p": "abc"},
    {"o": "9" * 5000},
    {"o": "1.-2.99.--3.१"},
    {"all": "", "_facets": "1"},
    {"q": "x" * 3000},
    {"q": "'a':*&|!()<->\\"},
    {"q": "😀\x00"},
    {"pk__in": f"1,{10**30}"},
    {"pk__regex": "("},
    {"pk__contains": "\0"},
    {"created_at__year": "999999999999"},
    {"user__password__startswith": "p"},
    {"organization__memberships__user__password__startswith": "p"},
    {"e": "1", "after": "abc"},
    {"state": "x\0"},
]


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
def test_whatever_an_address_asks_of_a_list_is_no_failure(back_office: Client, model: type[Model]) -> None:
    fill(model, 1)

    answers = {
        (kind, tuple(asked.items())): back_office.get(list_url(model) + kind, asked).status_code
        for asked in WEIRD
        for kind in ("", "csv/")
    }

    assert {asked for asked, status in answers.items() if status not in (200, 302, 400)} == set()


def test_what_no_column_holds_is_not_offered_to_be_chosen(back_office: Client) -> None:
    asked = {"app_label": "webhooks", "model_name": "attempt", "field_name": "message", "term": "a\0"}

    assert back_office.get("/admin/autocomplete/", asked).status_code == 400


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


def test_the_messages_of_an_endpoint_are_each_on_one_page_though_others_got_them_too(
    back_office: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin.site._registry[Message], "list_per_page", 4)
    one, other = fill(Endpoint, 2)
    messages = fill(Message, 9)
    for model in (Endpoint, Message):
        model._default_manager.update(organization=organization)
    for number, message in enumerate(messages):
        for endpoint, age in ((one, number), (other, 100 - number)):
            [delivery] = fill(Delivery, 1)
            Delivery.objects.filter(pk=delivery.pk).update(
                message=message, endpoint=endpoint, created_at=timezone.now() - timedelta(seconds=age)
            )

    found, link = [], f"?q={one.uid}"
    while link:
        listed = back_office.get(list_url(Message) + link).context["cl"]
        found += [row.pk for row in listed.result_list]
        link = listed.next_link

    assert found == [message.pk for message in messages]


def test_an_empty_list_invites_to_nothing_that_nobody_can_do(back_office: Client) -> None:
    empty = back_office.get(reverse("admin:billing_invoice_changelist")).content.decode()
    searched = back_office.get(reverse("admin:billing_invoice_changelist"), {"q": "in_1"}).content.decode()

    assert "There are no invoices yet" in empty
    assert "Create a new item" not in empty + searched
    assert "Nothing here is found by" in searched
