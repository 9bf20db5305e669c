"""The price book in the back office: what holds, what is to come and what was; and publishing with a second look."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from accounts import form_once
from accounts.access import actor_of
from accounts.admin_base import ModelAdmin, asked_once, colleague, is_there, plain_number
from usage import price_book, price_effects, unrated
from usage.models import CreditRate, Feature, Product
from usage.price_book import NewRate
from usage.price_forms import Lines, TermsForm, WithdrawDialog, as_typed
from usage.price_list import UNITS

FIELDS = ("product", "feature", "unit", "credits_per_unit", "minimum_credits", "batch_factor", "note")


@dataclass
class Line:
    """A product's feature in the price book: its rate now, those to come, and those that were, the newest first."""

    product: str
    feature: str
    now: CreditRate | None = None
    coming: list[CreditRate] = field(default_factory=list)
    past: list[CreditRate] = field(default_factory=list)


@admin.register(CreditRate)
class CreditRateAdmin(ModelAdmin[CreditRate]):
    """The price book. A price changes by a new version with a later start; published ones are never edited."""

    list_display = ("product", "feature", "effective_from")
    fields = (
        "product",
        "feature",
        "price",
        "state",
        "effective_from",
        "note",
        "reason",
    )
    actions_detail = ("withdraw",)

    @admin.display
    def price(self, rate: CreditRate) -> str:
        return in_words(rate)

    @display(description="state", label={"Coming": "info", "In force": "success", "Past": "warning"})  # type: ignore[untyped-decorator]
    def state(self, rate: CreditRate) -> str:
        now = timezone.now()
        if rate.effective_from > now:
            return "Coming"
        return "In force" if rate in price_book.in_force(at=now).values() else "Past"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("usage.add_creditrate")

    def has_change_permission(self, request: HttpRequest, obj: CreditRate | None = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The book, all on one page, with the usage that it lacks a rate for."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        gaps, are_more_gaps = unrated.found()
        present = price_book.in_force(at=timezone.now())
        return self._page(
            request,
            "book",
            title="Price book",
            book=_by_product(CreditRate.objects.order_by("effective_from", "pk")),
            gaps=[(gap, present.get((gap.product, gap.feature))) for gap in gaps],
            are_more_gaps=are_more_gaps,
            looked_at=unrated.LOOKED_AT,
            may_publish=self.has_add_permission(request),
            may_see_records=colleague(request).has_perm("usage.view_usagerecord"),
        )

    # ── Publishing ───────────────────────────────────────────────────────────────────────────────────────────

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask what changes, show what would follow, and publish by a second click. Sent twice, it publishes once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        publication, signed = form_once.uid_of(request, "pub", place="the price book")
        edition = price_book.edition()
        told = request.POST if request.method == "POST" else None
        lines: Any = Lines(told, initial=_initial(), prefix="line")
        terms = TermsForm(told)
        step = request.POST.get("step", "")
        shared: dict[str, Any] = {"lines": lines, "terms": terms, "signed": signed, "edition": edition}
        if told is None:
            _prefill(lines, request)
            return self._page(request, "publish", title="Publish rates", **shared)
        if step == "publish" and CreditRate.objects.filter(publication=publication).exists():
            return self._already(request)
        if told.get("seen") != edition:
            return self._changed(request)
        is_valid = all([lines.is_valid(), terms.is_valid()])
        if is_valid and step == "publish":
            try:
                made = price_book.publish(
                    rates=lines.rates,
                    effective_from=terms.cleaned_data["effective_from"],
                    reason=terms.cleaned_data["reason"],
                    publication=publication,
                    seen=told["seen"],
                    actor=actor_of(request),
                )
            except price_book.AlreadyPublished:
                return self._already(request)
            except price_book.Changed:
                return self._changed(request)
            except price_book.InThePast:
                terms.add_error("effective_from", "This moment has passed: leave it empty for now.")
            except price_book.Taken:
                terms.add_error("effective_from", "There is a rate that starts at this very moment.")
            else:
                messages.success(
                    request,
                    f"Published: {len(made)} rate{'' if len(made) == 1 else 's'}, in force from "
                    f"{_moment(made[0].effective_from)}.",
                )
                return redirect("admin:usage_creditrate_changelist")
        elif is_valid and step != "change":
            return self._preview(request, lines.rates, terms, signed=signed, edition=edition)
        return self._page(
            request,
            "publish",
            title="Publish rates",
            status=200 if step == "change" else 400,
            shows_errors=step != "change",
            **shared,
        )

    def _preview(
        self, request: HttpRequest, rates: list[NewRate], terms: TermsForm, *, signed: str, edition: str
    ) -> HttpResponse:
        moment = terms.cleaned_data["effective_from"]
        before = price_book.in_force(at=moment or timezone.now())
        after = CreditRate.objects.filter(effective_from__gt=moment or timezone.now()).order_by(
            "effective_from"
        )
        effects = price_effects.of(rates)
        return self._page(
            request,
            "preview",
            title="Publish rates",
            changes=[
                {
                    "name": _name(rate),
                    "before": in_words(before.get((rate.product, rate.feature))),
                    "after": in_words(rate),
                    "effect": effects and effects.lines[rate.product, rate.feature],
                    "later": [
                        later
                        for later in after
                        if (later.product, later.feature) == (rate.product, rate.feature)
                    ],
                }
                for rate in rates
            ],
            effects=effects,
            days=price_effects.DAYS,
            starts=_moment(moment) if moment else "now",
            reason=terms.cleaned_data["reason"],
            sent=[
                (name, value)
                for name, values in request.POST.lists()
                for value in values
                if name not in ("csrfmiddlewaretoken", "step")
            ],
        )

    def _already(self, request: HttpRequest) -> HttpResponse:
        messages.warning(request, "This form has published its rates already. Nothing was changed.")
        return redirect("admin:usage_creditrate_changelist")

    def _changed(self, request: HttpRequest) -> HttpResponse:
        messages.warning(
            request,
            "Somebody has changed the price book meanwhile. Nothing was published: look at it again, and begin anew.",
        )
        return redirect("admin:usage_creditrate_changelist")

    def _page(
        self, request: HttpRequest, template: str, *, status: int = 200, **context: Any
    ) -> HttpResponse:
        shared = self.admin_site.each_context(request) | {"opts": self.opts}
        return render(request, f"admin/usage/creditrate/{template}.html", shared | context, status=status)

    # ── Withdrawing ──────────────────────────────────────────────────────────────────────────────────────────

    def has_withdraw_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self.has_add_permission(request) and is_there(price_book.withdrawable(), object_id)

    @asked_once(
        "Withdraw",
        permission="withdraw",
        question="Withdraw this coming rate?",
        follows="It will not begin: what holds before it goes on. Nothing has been charged by it.",
        form_class=WithdrawDialog,
        is_danger=True,
    )
    def withdraw(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        try:
            price_book.withdraw(
                rate_id=int(object_id), reason=form.cleaned_data["reason"], actor=actor_of(request)
            )
        except (price_book.Begun, CreditRate.DoesNotExist):
            messages.error(request, "It has begun, or was withdrawn meanwhile. Nothing was changed.")
        else:
            messages.success(request, "The rate is withdrawn.")
        return HttpResponse(headers={"HX-Redirect": reverse("admin:usage_creditrate_changelist")})


def in_words(rate: CreditRate | NewRate | None) -> str:
    """2 credits a page, at least 30, × 0.8 in batch."""
    if rate is None:
        return "–"
    one = UNITS[CreditRate.Unit(rate.unit)][0]
    words = f"{plain_number(rate.credits_per_unit)} per {one}"
    if rate.minimum_credits:
        words += f", at least {plain_number(rate.minimum_credits)}"
    if rate.batch_factor != 1:
        words += f", × {plain_number(rate.batch_factor)} in batch"
    return words


def _by_product(rates: Iterable[CreditRate]) -> list[tuple[str, list[Line]]]:
    """The lines, in the order products and features are named."""
    now = timezone.now()
    lines: dict[tuple[str, str], Line] = {}
    for rate in rates:  # the oldest first
        line = lines.setdefault((rate.product, rate.feature), Line(rate.product, rate.feature))
        rate.words = in_words(rate)  # type: ignore[attr-defined]
        if rate.effective_from > now:
            line.coming.append(rate)
            continue
        if line.now:
            line.past.insert(0, line.now)
        line.now = rate
    return [
        (
            str(product.label),
            [lines[product, feature] for feature in Feature if (product, feature) in lines],
        )
        for product in Product
        if any(named == product for named, _ in lines)
    ]


def _initial() -> list[dict[str, Any]]:
    """The lines as they hold now, or will first."""
    rates = dict(price_book.in_force(at=timezone.now()))
    for version in CreditRate.objects.order_by("effective_from"):
        rates.setdefault((version.product, version.feature), version)
    return [
        {
            name: as_typed(value) if isinstance(value := getattr(rate, name), Decimal) else value
            for name in FIELDS
        }
        for product in Product
        for feature in Feature
        if (rate := rates.get((str(product), str(feature))))
    ]


def _prefill(lines: Any, request: HttpRequest) -> None:
    """Name in the first new line what the address asks for, if there is no such line yet."""
    asked = {name: request.GET.get(name, "") for name in ("product", "feature", "unit")}
    there = [form.initial for form in lines.forms if not form.is_new]
    if not asked["product"] or any(
        (line["product"], line["feature"]) == (asked["product"], asked["feature"]) for line in there
    ):
        return
    new = next(form for form in lines.forms if form.is_new)
    new.initial |= {name: value for name, value in asked.items() if value}


def _name(rate: NewRate) -> str:
    return f"{Product(rate.product).label}, {Feature(rate.feature).label.lower()}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"
