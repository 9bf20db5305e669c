"""The one search of the admin: from whatever a mail from a customer holds to the page of what it names.

A term is looked for in every kind of row that it could name, each by an index and up to a few rows. A key, or what
looks like one, is compared by its hash alone and never becomes part of an address: the box sends its term in the body,
and only a term that is no secret goes on into `?q=`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any
from urllib.parse import urlencode

from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.search import SearchQuery
from django.db.models import BooleanField, Exists, F, Func, Model, OuterRef, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import pasted, words
from accounts.admin_base import colleague, page_of
from accounts.models import ApiKey, Invitation, Membership, Note, Organization, User
from accounts.words import Words
from billing.models import Invoice
from config.backoffice import refusals
from usage.models import Job
from webhooks.models import Application, Endpoint, Message, OutboxMessage

SHOWN = 10
LONGEST = 500
_LAST_FOUR = re.compile(r"(?P<prefix>[0-9A-Za-z_]*)(?:…|\.\.\.|•+)?(?P<last_four>[0-9A-Za-z]{4})")
STATE_COLORS = {
    "active": "success",
    "allowed": "success",
    "pending": "info",
    "paid": "success",
    "Completed": "success",
    "open": "warning",
    "disabled": "warning",
    "expired": "warning",
    "unverified": "warning",
    "declined": "warning",
    "suspended": "danger",
    "spend cap reached": "danger",
    "out of credits": "danger",
    "deleted": "danger",
    "erased": "danger",
    "switched off": "danger",
    "revoked": "danger",
    "Failed": "danger",
    "uncollectible": "danger",
}


@dataclass(frozen=True)
class Term:
    """What is looked for."""

    text: str

    @cached_property
    def prefix(self) -> str:
        """What an id begins with: `org`, or Stripe's `in`; empty where it is no id."""
        prefix = self.text.partition("_")[0]
        return prefix if self.is_one_word and (prefix in _PREFIXES or prefix in _others()) else ""

    @cached_property
    def is_one_word(self) -> bool:
        return " " not in self.text

    @cached_property
    def words(self) -> SearchQuery | None:
        """The words to look for in names and addresses; None for an id."""
        return None if self.prefix or len(self.text) < 2 else words.beginning(self.text)


@dataclass(frozen=True)
class Hit:
    """A row that was found."""

    url: str
    title: str
    about: str
    state: str
    warnings: list[str]

    @property
    def color(self) -> str:
        return STATE_COLORS.get(self.state, "default")


@dataclass(frozen=True)
class Kind:
    """A kind of row that can be found. `find` gives nothing for a term that could not name one."""

    model: type[Model]
    find: Callable[[Term], QuerySet[Any] | None]
    # What is said of a row beside its name, and its state.
    about: Callable[[Any], str] = str
    state: Callable[[Any], str] = lambda row: ""


@dataclass
class Group:
    """The first hits of a kind, and the list of all of them where there are more."""

    title: str
    hits: list[Hit] = field(default_factory=list)
    list_url: str = ""


# ── The kinds ────────────────────────────────────────────────────────────────────────────────────────────────
def _in(column: str, ids: QuerySet[Any]) -> Func:
    """That a column is one of these ids, which are read first, whatever the list's order."""
    return Func(
        F(column),
        ArraySubquery(ids),
        template="%(expressions)s)",
        arg_joiner=" = ANY(",
        output_field=BooleanField(),
    )


def _named(model: type[Model], term: Term, *columns: str) -> Q:
    """That it has the words, by their index: else PostgreSQL would go through all rows, the newest first, for a few."""
    rows: QuerySet[Any] = model._default_manager.alias(words=Words(*columns))
    return Q(_in("pk", rows.filter(words=term.words).order_by().values("pk")))


def _organizations(term: Term) -> QuerySet[Organization] | None:
    rows = Organization.objects.select_related("entitlement", "billing_account__plan")
    match term.prefix:
        case "org":
            return rows.filter(uid=term.text)
        case "cus":
            return rows.filter(billing_account__stripe_customer=term.text)
        case "sub":
            return rows.filter(billing_account__stripe_subscription=term.text)
    if term.words is None:
        return None
    named = _named(Organization, term, "name", "billing_email")
    if "@" in term.text:
        member = Membership.objects.filter(user__email=term.text.lower())
        named |= Q(_in("pk", member.values("organization")))
    return rows.filter(named)


def _people(term: Term) -> QuerySet[User] | None:
    if term.prefix == "usr":
        return User.objects.filter(uid=term.text)
    if term.words is None:
        return None
    return User.objects.filter(_named(User, term, "name", "email"))


def _addresses(term: Term) -> QuerySet[EmailAddress] | None:
    """What a person's page does not show: that an address is not verified, or that it is a second one."""
    if "@" not in term.text:
        return None
    rows: QuerySet[EmailAddress] = EmailAddress.objects.select_related("user")
    return rows.filter(email=term.text.lower()).exclude(verified=True, user__email=F("email"))


def _invitations(term: Term) -> QuerySet[Invitation] | None:
    rows = Invitation.objects.select_related("organization")
    if term.prefix == "inv":
        return rows.filter(uid=term.text)
    return None if term.words is None else rows.filter(_named(Invitation, term, "email"))


def _keys(term: Term) -> QuerySet[ApiKey] | None:
    rows = ApiKey.objects.select_related("organization", "user")
    if term.prefix == "key":
        return rows.filter(uid=term.text)
    if term.prefix or not term.is_one_word or len(term.text) < 4:
        return None
    named = Q(prefix__startswith=term.text)
    if shown := _LAST_FOUR.fullmatch(term.text):
        if not shown["prefix"]:
            named |= Q(last_four=shown["last_four"])
        elif len(term.text) > len(shown["prefix"] + shown["last_four"]):
            named = Q(prefix=shown["prefix"], last_four=shown["last_four"])
    return rows.filter(named)


def _jobs(term: Term) -> QuerySet[Job] | None:
    if not term.is_one_word or len(term.text) > 128:
        return None
    # Said of every row, so that PostgreSQL probes the index of job ids once for each organization.
    of_each = _in("organization_id", Organization.objects.values("pk"))
    return Job.objects.select_related("organization").filter(of_each, job_id=term.text)


def _invoices(term: Term) -> QuerySet[Invoice] | None:
    rows = Invoice.objects.select_related("organization")
    match term.prefix:
        case "ivc":
            return rows.filter(uid=term.text)
        case "in":
            return rows.filter(stripe_id=term.text)
        case "pi":
            return rows.filter(stripe_payment=term.text)
    if term.prefix or not term.is_one_word:
        return None
    return rows.filter(number__in={term.text, term.text.upper()})


def _messages(term: Term) -> QuerySet[Message] | None:
    rows = Message.objects.select_related("organization")
    if term.prefix == "msg":
        return rows.filter(uid=term.text)
    if term.prefix == "evt":
        # Along these there is an index.
        return rows.filter(organization__in=Application.objects.values("organization"), event_id=term.text)
    return None


def _outbox(term: Term) -> QuerySet[OutboxMessage] | None:
    """What the engine has not got, or is a Svix server's; the page of what it has leads here."""
    if term.prefix != "evt":
        return None
    taken = Message.objects.filter(organization=OuterRef("organization"), event_id=OuterRef("uid"))
    return OutboxMessage.objects.select_related("organization").filter(~Exists(taken), uid=term.text)


def _endpoints(term: Term) -> QuerySet[Endpoint] | None:
    rows = Endpoint.objects.select_related("organization")
    if term.prefix == "ep":
        return rows.filter(uid=term.text)
    if term.words is None or "@" in term.text:
        return None
    return rows.filter(_named(Endpoint, term, "url"))


def _about_organization(organization: Organization) -> str:
    account = getattr(organization, "billing_account", None)
    return " · ".join(
        filter(None, [account and account.plan.name, organization.billing_email, organization.uid])
    )


def _state_of_organization(organization: Organization) -> str:
    if organization.erased_at:
        return "erased"
    if organization.deleted_at:
        return "deleted"
    entitlement = getattr(organization, "entitlement", None)
    return entitlement.standing(timezone.now()) if entitlement else ""


def _state_of_person(user: User) -> str:
    if user.deleted_at:
        return "deleted"
    return ("staff" if user.is_staff else "active") if user.is_active else "switched off"


def _state_of_endpoint(endpoint: Endpoint) -> str:
    if endpoint.deleted_at:
        return "deleted"
    return "disabled" if endpoint.disabled else "active"


def _about_key(key: ApiKey) -> str:
    return f"{key.organization or 'the operator'} · {key.get_kind_display().lower()} · {key.environment}"


def _about_message(message: Message | OutboxMessage) -> str:
    return f"{message.organization} · {message.event_type} · {message.created_at:%Y-%m-%d %H:%M} UTC"


KINDS = (
    Kind(Organization, _organizations, _about_organization, _state_of_organization),
    Kind(User, _people, lambda user: user.name, _state_of_person),
    Kind(
        EmailAddress,
        _addresses,
        lambda address: f"of {address.user}",
        lambda address: "verified" if address.verified else "unverified",
    ),
    Kind(
        Invitation,
        _invitations,
        lambda invitation: f"to {invitation.organization} as {invitation.role}",
        lambda invitation: invitation.state,
    ),
    Kind(ApiKey, _keys, _about_key, lambda key: key.state),
    Kind(
        Job,
        _jobs,
        lambda job: f"{job.organization} · {job.type} · {job.created_at:%Y-%m-%d %H:%M} UTC",
        lambda job: job.get_status_display(),
    ),
    Kind(
        Invoice,
        _invoices,
        lambda invoice: f"{invoice.organization} · ${invoice.total:,.2f} · {invoice.created_at:%Y-%m-%d}",
        lambda invoice: invoice.status,
    ),
    Kind(Message, _messages, _about_message),
    Kind(OutboxMessage, _outbox, _about_message),
    Kind(Endpoint, _endpoints, lambda endpoint: str(endpoint.organization), _state_of_endpoint),
)
# What ids begin with that these kinds know.
_PREFIXES = frozenset(
    {"org", "usr", "inv", "key", "ivc", "in", "pi", "cus", "sub", "msg", "evt", "ep"},
)


@cache
def _others() -> dict[str, Kind]:
    """What else the admin shows and is found by its id alone, by what the id begins with."""
    kinds = {}
    for model in admin.site._registry:
        fields = (field for field in model._meta.get_fields() if field.name == "uid")
        default = getattr(next(fields, None), "default", None)
        if isinstance(default, partial) and default.args[0] not in _PREFIXES:
            kinds[default.args[0]] = Kind(model, partial(_by_uid, model), lambda row: row.uid)
    return kinds


def _by_uid(model: type[Model], term: Term) -> QuerySet[Any]:
    rows: QuerySet[Any] = model._default_manager.filter(uid=term.text)
    return rows


# ── Looking ──────────────────────────────────────────────────────────────────────────────────────────────────
def find(term: Term, request: HttpRequest) -> Iterator[Group]:
    """What a term names, of the kinds that this colleague may look at: a query a kind, and one for warnings."""
    other = _others().get(term.prefix)
    for kind in (*KINDS, other) if other else KINDS:
        shown_by = admin.site.get_model_admin(kind.model)
        rows = kind.find(term) if shown_by.has_view_permission(request) else None
        if rows is None:
            continue
        if kind.model in (Organization, User) and colleague(request).has_perm("accounts.view_note"):
            pinned = Note.objects.warnings().newest_first()
            rows = rows.prefetch_related(Prefetch("notes", pinned, to_attr="pinned"))
        found = list(rows.order_by("-pk")[: SHOWN + 1])
        if not found:
            continue
        meta = kind.model._meta
        group = Group(_title(kind.model), [_hit(kind, row) for row in found[:SHOWN]])
        if len(found) > SHOWN:
            url = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
            group.list_url = f"{url}?{urlencode({'q': term.text})}"
        yield group


def _hit(kind: Kind, row: Any) -> Hit:
    return Hit(
        url=page_of(row),
        title=str(row),
        about=kind.about(row),
        state=kind.state(row),
        warnings=[note.text for note in getattr(row, "pinned", [])],
    )


def _title(model: type[Model]) -> str:
    return str(model._meta.verbose_name_plural)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """What was found; where that is one thing, its page at once. What is posted is never answered with a page."""
    text = _clean((request.POST if request.method == "POST" else request.GET).get("q", ""))
    back = reverse("admin:search")
    if answer := _answer_question(request, text) or pasted.answer(request, text, back=back):
        return answer
    if request.method == "POST":
        return redirect(reverse("admin:search") + (f"?{urlencode({'q': text})}" if text else ""))
    groups = list(find(Term(text), request)) if text else []
    hits = [hit for group in groups for hit in group.hits]
    if len(hits) == 1:
        return redirect(hits[0].url)
    if home := _home_of(text, groups):
        return redirect(home)
    context = admin.site.each_context(request) | {"title": "Search", "term": text, "groups": groups}
    return render(request, "admin/backoffice/search.html", context)


def _home_of(text: str, groups: list[Group]) -> str:
    """The page of the only organization of a person whose address this is, if nothing else was found by it.

    It tells of the person as well. Empty for any other term.
    """
    by_title = {group.title: [hit.url for hit in group.hits] for group in groups}
    of_one = {_title(model) for model in (Organization, User, EmailAddress)}
    organizations, people = (by_title.get(_title(model), []) for model in (Organization, User))
    if "@" not in text or not by_title.keys() <= of_one or len(organizations) != 1 or len(people) != 1:
        return ""
    theirs = Membership.objects.filter(user__email=text.lower()).select_related("user", "organization")
    membership = theirs.first()
    if membership is None or page_of(membership.organization) != organizations[0]:
        return ""
    return f"{organizations[0]}?{urlencode({'person': membership.user.uid})}"


def _clean(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())[:LONGEST]


def _answer_question(request: HttpRequest, text: str) -> HttpResponse | None:
    """Lead to why a call is refused, where a text holds a key and an address, or an answer of verify."""
    if not admin.site.get_model_admin(ApiKey).has_view_permission(request):
        return None
    question = refusals.question_in(text)
    return redirect(question) if question else None
