"""The price book: published with a second look, once, never into the past; and what was used without a rate."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.audit import Action, Actor
from accounts.models import ApiKey, AuditEntry, Organization, User
from tests.conftest import colleague, sign_in_verified
from tests.usage.conftest import item
from usage import corrections, ingest, partitions, price_book, price_effects, reports_in, unrated
from usage.models import CreditRate, DailyUsage, UsageRecord
from usage.price_book import NewRate
from usage.price_effects import Effects

BOOK, PUBLISH = reverse("admin:usage_creditrate_changelist"), reverse("admin:usage_creditrate_add")
WHY = "Yearly review of prices"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def rate(db: None) -> CreditRate:
    return CreditRate.objects.create(
        product="parse",
        feature="standard",
        credits_per_unit=2,
        effective_from=LONG_AGO,
        note="Text and tables.",
    )


@pytest.fixture
def add_record(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> Callable[..., UsageRecord]:
    now = timezone.now()
    partitions.ensure([partitions.month_of(now)])

    def add(key: str, **fields: Any) -> UsageRecord:
        return UsageRecord.objects.create(
            organization=organization,
            api_key=organization_key[0],
            idempotency_key=key,
            **(
                {
                    "job_id": key,
                    "product": "edit",
                    "feature": "standard",
                    "file_type": "pdf",
                    "requests": 1,
                    "pages": 3,
                    "credits": 0,
                    "cost": 0,
                    "day": now.date(),
                    "timestamp": now,
                    "unrated": True,
                }
                | fields
            ),
        )

    return add


def _sent(page: str) -> dict[str, str]:
    """What a browser would send of a page's form, as it is."""
    found: dict[str, str] = {}
    form = page[page.index('name="seen"') - 3000 :]
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and 'type="checkbox"' not in tag:
            found[name[1]] = unescape(value[1]) if value else ""
    for name, options in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', form, re.S):
        chosen = re.search(r'value="([^"]*)"[^>]*selected', options)
        found[name] = chosen[1] if chosen else ""
    found.pop("q", None)
    return found


def _filled(back_office: Client, query: str = "", **changes: str) -> dict[str, str]:
    return _sent(back_office.get(PUBLISH + query).content.decode()) | {"reason": WHY} | changes


def _preview(back_office: Client, sent: dict[str, str]) -> str:
    return back_office.post(PUBLISH, sent | {"step": "preview"}).content.decode()


def _publish(back_office: Client, sent: dict[str, str]) -> str:
    return back_office.post(PUBLISH, sent | {"step": "publish"}, follow=True).content.decode()


def _new(
    credits: str = "3", *, product: str = "parse", feature: str = "standard", unit: str = "page"
) -> NewRate:
    return NewRate(product, feature, unit, Decimal(credits), Decimal(0), Decimal(1))


def _published(staff: User, *rates: NewRate, at: datetime | None = None, name: str = "pub_1") -> None:
    price_book.publish(
        rates=rates or [_new()],
        effective_from=at,
        reason=WHY,
        publication=name,
        seen=price_book.edition(),
        actor=Actor(staff),
    )


# ── Publishing ───────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_published_before_it_was_looked_at(back_office: Client, rate: CreditRate) -> None:
    page = _preview(back_office, _filled(back_office, **{"line-0-credits_per_unit": "3"}))

    assert "2 per page" in page
    assert "3 per page" in page
    assert CreditRate.objects.count() == 1


def test_what_was_looked_at_is_published_now_with_its_note(
    back_office: Client, rate: CreditRate, staff: User
) -> None:
    before = timezone.now()
    seen = _sent(_preview(back_office, _filled(back_office, **{"line-0-credits_per_unit": "3"})))

    page = _publish(back_office, seen)

    assert "Published: 1 rate" in page
    new = CreditRate.objects.exclude(pk=rate.pk).get()
    assert before <= new.effective_from <= timezone.now()
    assert (new.credits_per_unit, new.note, new.reason) == (3, "Text and tables.", WHY)
    entry = AuditEntry.objects.get(action=Action.CREDIT_RATE_PUBLISHED)
    assert (entry.actor, entry.before["credits_per_unit"], entry.after["credits_per_unit"]) == (
        staff,
        "2.000000",
        "3",
    )
    assert entry.after["reason"] == WHY


def test_several_rates_begin_at_one_moment(back_office: Client, rate: CreditRate) -> None:
    sent = _filled(
        back_office,
        effective_from="2099-01-01T00:00",
        **{
            "line-0-credits_per_unit": "3",
            "line-1-product": "edit",
            "line-1-feature": "standard",
            "line-1-credits_per_unit": "4",
        },
    )

    _publish(back_office, sent)

    new = CreditRate.objects.exclude(pk=rate.pk).order_by("product")
    assert [(each.product, each.effective_from) for each in new] == [
        ("edit", datetime(2099, 1, 1, tzinfo=UTC)),
        ("parse", datetime(2099, 1, 1, tzinfo=UTC)),
    ]
    assert len({each.publication for each in new}) == 1


def test_a_double_click_publishes_once(back_office: Client, rate: CreditRate) -> None:
    sent = _filled(back_office, **{"line-0-credits_per_unit": "3"})

    _publish(back_office, sent)
    again = _publish(back_office, sent)

    assert "has published its rates already" in again
    assert CreditRate.objects.count() == 2
    assert AuditEntry.objects.filter(action=Action.CREDIT_RATE_PUBLISHED).count() == 1


def test_lines_that_stay_as_they_are_are_not_published(back_office: Client, rate: CreditRate) -> None:
    answer = back_office.post(PUBLISH, _filled(back_office) | {"step": "publish"})

    assert answer.status_code == 400
    assert "Nothing is changed yet." in answer.content.decode()
    assert CreditRate.objects.count() == 1


def test_no_rate_reaches_into_the_past(back_office: Client, rate: CreditRate, staff: User) -> None:
    sent = _filled(back_office, effective_from="2020-06-01T00:00", **{"line-0-credits_per_unit": "3"})

    for step in ("preview", "publish"):
        page = back_office.post(PUBLISH, sent | {"step": step})
        assert "cannot start in the past" in page.content.decode()
    with pytest.raises(price_book.InThePast):
        _published(staff, at=timezone.now() - timedelta(seconds=1))
    assert CreditRate.objects.count() == 1


def test_a_book_that_has_changed_meanwhile_is_looked_at_again(
    back_office: Client, rate: CreditRate, staff: User
) -> None:
    sent = _filled(back_office, **{"line-0-credits_per_unit": "3"})
    _published(staff, _new("5"))

    page = _publish(back_office, sent)

    assert "has changed the price book meanwhile" in page
    assert CreditRate.objects.count() == 2


def test_a_rate_that_begins_meanwhile_changes_the_book(
    back_office: Client, rate: CreditRate, staff: User
) -> None:
    """Lines left as they were would differ from it, and be published without having been looked at."""
    coming = timezone.now() + timedelta(hours=1)
    _published(staff, _new("5"), at=coming)
    seen = _sent(_preview(back_office, _filled(back_office, **{"line-0-minimum_credits": "1"})))
    CreditRate.objects.filter(effective_from=coming).update(effective_from=timezone.now())

    page = _publish(back_office, seen)

    assert "Somebody has changed the price book meanwhile" in page
    assert CreditRate.objects.count() == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("line-0-credits_per_unit", "-1"),
        ("line-0-credits_per_unit", "nonsense"),
        ("line-0-unit", "mile"),
        ("line-0-credits_per_unit", "9" * 20),
        ("line-1-product", "edit"),  # without the rest of the line
        ("reason", ""),
        ("effective_from", "soon"),
    ],
)
def test_what_cannot_be_meant_is_an_error_of_the_form(
    back_office: Client, rate: CreditRate, name: str, value: str
) -> None:
    sent = _filled(back_office, **{"line-0-note": "Changed", name: value})

    answer = back_office.post(PUBLISH, sent | {"step": "publish"})

    assert answer.status_code == 400
    assert CreditRate.objects.count() == 1


def test_a_line_that_is_there_twice_is_refused(back_office: Client, rate: CreditRate) -> None:
    twice = {
        "line-0-credits_per_unit": "3",
        "line-1-product": "parse",
        "line-1-feature": "standard",
        "line-1-credits_per_unit": "4",
    }

    answer = back_office.post(PUBLISH, _filled(back_office, **twice) | {"step": "preview"})

    assert "A line is there twice." in answer.content.decode()


def test_a_form_that_was_not_made_here_publishes_nothing(back_office: Client, rate: CreditRate) -> None:
    sent = _filled(back_office, **{"line-0-credits_per_unit": "3", "form": "pub_mine"})

    assert back_office.post(PUBLISH, sent | {"step": "publish"}).status_code == 400
    assert CreditRate.objects.count() == 1


def test_a_change_of_mind_keeps_what_was_filled_in(back_office: Client, rate: CreditRate) -> None:
    seen = _sent(_preview(back_office, _filled(back_office, **{"line-0-credits_per_unit": "3.5"})))

    page = back_office.post(PUBLISH, seen | {"step": "change"})

    assert page.status_code == 200
    assert 'value="3.5"' in page.content.decode()


def test_a_later_rate_that_is_published_already_is_pointed_out(
    back_office: Client, rate: CreditRate, staff: User
) -> None:
    _published(staff, _new("9"), at=datetime(2099, 1, 1, tzinfo=UTC))

    page = _preview(back_office, _filled(back_office, **{"line-0-credits_per_unit": "3"}))

    assert "but only until 1 January 2099, 00:00 UTC" in page


# ── Who may, and what stays ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("group", ["Support", "Billing desk"])
def test_who_may_not_publish_sees_the_book_only(
    client: Client, rate: CreditRate, staff: User, group: str
) -> None:
    _published(staff, _new("9"), at=datetime(2099, 1, 1, tzinfo=UTC))
    coming = CreditRate.objects.latest("effective_from")
    sign_in_verified(client, colleague("Sam", group))
    withdraw = reverse("admin:usage_creditrate_withdraw", args=[coming.pk])

    book = client.get(BOOK).content.decode()

    assert "2 per page" in book
    assert PUBLISH not in book
    assert client.get(PUBLISH).status_code == 403
    assert client.post(PUBLISH, {"step": "publish"}).status_code == 403
    assert client.post(withdraw, {"_form_submitted": "True", "reason": WHY}).status_code == 403


def test_engineers_publish(client: Client, rate: CreditRate) -> None:
    sign_in_verified(client, colleague("Eve", "Engineer"))

    _publish(client, _filled(client, **{"line-0-credits_per_unit": "3"}))

    assert CreditRate.objects.count() == 2


def test_who_may_not_see_the_book_does_not(client: Client, rate: CreditRate) -> None:
    sign_in_verified(client, colleague("Nora"))

    assert client.get(BOOK).status_code == 403


@pytest.mark.parametrize("action", ["change", "delete"])
def test_published_rates_stay_as_they_are(back_office: Client, rate: CreditRate, action: str) -> None:
    url = reverse(f"admin:usage_creditrate_{action}", args=[rate.pk])

    assert back_office.post(url, {"credits_per_unit": "9", "post": "yes"}).status_code == 403
    rate.refresh_from_db()
    assert rate.credits_per_unit == 2


def test_a_coming_rate_is_withdrawn_with_a_reason(back_office: Client, rate: CreditRate, staff: User) -> None:
    _published(staff, at=timezone.now() + timedelta(hours=1))
    coming = CreditRate.objects.exclude(pk=rate.pk).get()
    url = reverse("admin:usage_creditrate_withdraw", args=[coming.pk])
    assert url in back_office.get(reverse("admin:usage_creditrate_change", args=[coming.pk])).content.decode()

    back_office.post(url, {"_form_submitted": "True", "reason": "The board said no"})

    assert CreditRate.objects.get() == rate
    entry = AuditEntry.objects.get(action=Action.CREDIT_RATE_WITHDRAWN)
    assert (entry.actor, entry.after, entry.target_uid) == (
        staff,
        {"reason": "The board said no"},
        str(coming.pk),
    )
    assert entry.before["credits_per_unit"] == "3.000000"


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=4), timedelta(seconds=330)])
def test_a_rate_that_usage_may_be_charged_by_is_not_withdrawn(
    back_office: Client, rate: CreditRate, staff: User, ahead: timedelta
) -> None:
    _published(staff, at=timezone.now() + ahead if ahead else None)
    begun = CreditRate.objects.exclude(pk=rate.pk).get()

    url = reverse("admin:usage_creditrate_withdraw", args=[begun.pk])
    assert back_office.post(url, {"_form_submitted": "True", "reason": WHY}).status_code == 403
    with pytest.raises(price_book.Begun):
        price_book.withdraw(rate_id=begun.pk, reason=WHY, actor=Actor(staff))


def test_the_book_shows_what_holds_what_comes_and_what_was(
    back_office: Client, rate: CreditRate, staff: User
) -> None:
    _published(staff, _new("3"), name="pub_1")
    _published(staff, _new("4"), at=datetime(2099, 1, 1, tzinfo=UTC), name="pub_2")

    page = back_office.get(BOOK).content.decode()

    assert "3 per page" in page
    assert re.search(r"From 1 January 2099, 00:00 UTC:\s*<a[^>]*>4 per page", page)
    assert re.search(r"1 before</summary>\s*<p>\s*From 1 January 2020, 00:00 UTC:\s*<a[^>]*>2 per page", page)


def test_the_book_asks_no_more_however_long_it_is(back_office: Client, rate: CreditRate, staff: User) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            back_office.get(BOOK)
        return len(queries)

    back_office.get(BOOK)
    few = asked()
    for number in range(5):
        _published(staff, _new(str(number)), name=f"pub_{number}")

    assert asked() == few


# ── Ingest ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rate_whose_time_comes_is_charged_by_without_a_restart(
    rate: CreditRate, staff: User, job: Callable[..., dict[str, Any]]
) -> None:
    now = timezone.now()
    _published(staff, at=now + timedelta(hours=2))

    for hours in (0, 3):
        moment = now + timedelta(hours=hours)
        partitions.ensure([partitions.month_of(moment)])
        used = item(f"use-{hours}", timestamp=moment.isoformat(), pages=1)
        report = job(f"job-{hours}", created_at=moment.isoformat(), usage=[used])
        ingest.ingest(reports_in.read_json(json.dumps({"jobs": [report]}).encode()), now=moment)

    assert list(UsageRecord.objects.order_by("timestamp").values_list("credits", flat=True)) == [2, 3]


# ── What it would have meant ─────────────────────────────────────────────────────────────────────────────────


def _day(organization: Organization, *, days_ago: int = 1, **fields: Any) -> None:
    DailyUsage.objects.create(
        **(
            {
                "organization_id": organization.pk,
                "day": timezone.now().date() - timedelta(days=days_ago),
                "api_key_id": 1,
                "product": "parse",
                "feature": "standard",
                "file_type": "pdf",
                "requests": 1,
                "pages": 50,
                "credits": 100,
                "cost": 1,
            }
            | fields
        )
    )


def _effects(rate: NewRate) -> Effects:
    found = price_effects.of([rate])
    assert found is not None
    return found


def test_what_a_change_would_have_meant_is_estimated_in_one_query(
    rate: CreditRate, organization: Organization, other_organization: Organization
) -> None:
    _day(organization)
    _day(organization, days_ago=2, credits=80)
    _day(organization, days_ago=40)
    _day(other_organization, credits=10)
    _day(other_organization, product="extract")

    with CaptureQueriesContext(connection) as queries:
        effects = _effects(_new("3"))

    assert sum("usage_dailyusage" in query["sql"] for query in queries) == 1
    assert not any("usage_usagerecord" in query["sql"] for query in queries)
    assert (effects.total.credits, effects.total.would_be) == (190, 285)
    assert effects.total.percent == 50
    assert [(each.name, each.effect.change) for each in effects.organizations] == [
        ("Northwind", 90),
        ("Contoso", 5),
    ]


def test_what_takes_too_long_to_estimate_can_be_published_without(
    back_office: Client, rate: CreditRate, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_effects, "PATIENCE", 50)
    monkeypatch.setattr(price_effects, "_EFFECTS", "SELECT pg_sleep(5)")

    page = _preview(back_office, _filled(back_office, **{"line-0-credits_per_unit": "3"}))

    assert "takes too long" in page
    assert "not estimated" in page
    assert "Published: 1 rate" in _publish(back_office, _sent(page))


def test_pages_are_counted_where_there_was_no_price(organization: Organization) -> None:
    _day(organization, credits=0)

    effects = _effects(_new("3"))

    assert (effects.total.credits, effects.total.would_be, effects.total.percent) == (0, 150, None)


def test_what_the_totals_do_not_tell_is_not_guessed(rate: CreditRate, organization: Organization) -> None:
    _day(organization)

    effects = _effects(_new("3", unit="1000_cells"))

    assert effects.lines["parse", "standard"].would_be is None
    assert _effects(_new("3", feature="deep", unit="chart")).total == price_effects.NOTHING
    assert effects.total.would_be is None
    assert effects.organizations == []


def test_the_preview_names_whom_it_would_have_concerned(
    back_office: Client, rate: CreditRate, organization: Organization
) -> None:
    _day(organization)

    page = _preview(back_office, _filled(back_office, **{"line-0-credits_per_unit": "3"}))

    text = " ".join(page.split())
    assert "100 → about 150 credits (+50%)" in text
    assert reverse("admin:accounts_organization_change", args=[organization.pk]) in page


# ── Without a rate ───────────────────────────────────────────────────────────────────────────────────────────


def test_usage_without_a_rate_is_listed_and_leads_to_setting_one(
    back_office: Client, rate: CreditRate, add_record: Callable[..., UsageRecord], organization: Organization
) -> None:
    add_record("a")
    add_record("b")
    add_record("rated", product="parse", unrated=False)

    page = back_office.get(BOOK).content.decode()
    link = re.search(r'href="([^"]*product=edit[^"]*)"', page)
    assert link
    form = _sent(back_office.get(unescape(link[1])).content.decode())

    assert "2 records, 6 pages" in page
    assert organization.name in page
    assert "not rated again" in page
    assert (form["line-1-product"], form["line-1-feature"], form["line-1-unit"]) == (
        "edit",
        "standard",
        "page",
    )


def test_charts_without_a_rate_are_asked_for_as_charts(add_record: Callable[..., UsageRecord]) -> None:
    add_record("a", feature="chart", quantity=4)
    add_record("b", feature="spreadsheet", quantity=5000)

    gaps, are_more = unrated.found()

    assert {(gap.feature, gap.unit, gap.quantity) for gap in gaps} == {
        ("chart", "chart", 4),
        ("spreadsheet", "5000_cells", 5000),
    }
    assert not are_more


def test_what_was_corrected_is_not_listed_any_more(
    add_record: Callable[..., UsageRecord], staff: User, organization: Organization
) -> None:
    record = add_record("a")
    corrections.correct(record=record, reason=WHY, amendment=None, actor=Actor(staff))

    assert unrated.found() == ([], False)


def test_what_was_amended_to_something_without_a_rate_is_listed_in_its_stead(
    add_record: Callable[..., UsageRecord], staff: User
) -> None:
    record = add_record("a")
    amendment = corrections.Amendment(product="edit", feature="deep", pages=2, quantity=None)
    corrections.correct(record=record, reason=WHY, amendment=amendment, actor=Actor(staff))

    gaps, _ = unrated.found()

    assert [(gap.feature, gap.records, gap.pages) for gap in gaps] == [("deep", 1, 2)]


def test_only_the_newest_are_looked_at(
    add_record: Callable[..., UsageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrated, "LOOKED_AT", 2)
    for key in "abc":
        add_record(key)

    gaps, are_more = unrated.found()

    assert [gap.records for gap in gaps] == [2]
    assert are_more


def test_usage_that_has_a_rate_by_now_says_so(
    back_office: Client, add_record: Callable[..., UsageRecord], staff: User
) -> None:
    add_record("a")
    _published(staff, _new("4", product="edit"))

    page = back_office.get(BOOK).content.decode()

    assert "Has had a rate since" in page
    assert "product=edit" not in page
