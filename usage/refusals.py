"""Why verify refuses a key: each of its checks, in its order, with what it finds now.

`verify.refusal` stops at the first of them, and has no words for it, because every call waits for it. A test goes
through all combinations, so that the two never say different things.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from django.utils.timesince import timesince, timeuntil

from accounts import networks
from accounts.permissions import Scope
from usage import limits, verify
from usage.known_keys import Found
from usage.limits import Taken


class Subject(StrEnum):
    """What a check looks at."""

    REVOCATION = "Revocation"
    ORGANIZATION = "Organization"
    SWITCH = "Switched on"
    EXPIRY = "Expiry"
    SECRET = "Secret"
    SUSPENSION = "Suspension"
    PERSON = "Person"
    MEMBERSHIP = "Membership"
    SCOPE = "Scope"
    SECOND_FACTOR = "Second factor"
    NETWORK = "Caller's address"
    SPEND_CAP = "Spend cap"
    BUDGET = "Budget of the key"
    CREDITS = "Credits"
    LIMIT = "Requests a minute"
    OWN_LIMIT = "Requests a minute of the key"


@dataclass(frozen=True)
class Check:
    """One check of verify, whether it refuses the call now, with which code, and the fact behind it as a sentence."""

    subject: Subject
    code: str
    refuses: bool
    fact: str


def explain(found: Found, *, cost: Decimal, ip: str | None, now: datetime) -> list[Check]:
    """Each check of a call with this key, the limits last. Takes nothing of them, and marks nothing as used."""
    subjects = (Subject.LIMIT, Subject.OWN_LIMIT)
    states = limits.peek(verify.limits_of(found))
    return checks(found, cost=cost, ip=ip, now=now) + [
        Check(subject, "RATE_LIMITED", not state.allowed, _room(state, now))
        for subject, state in zip(subjects, states, strict=False)
    ]


def first(found: list[Check]) -> Check | None:
    """The check that refuses the call; None if it is let through."""
    return next((check for check in found if check.refuses), None)


def checks(found: Found, *, cost: Decimal, ip: str | None, now: datetime) -> list[Check]:
    """Each check that needs no more than what is known of the key."""
    return [
        Check(
            Subject.REVOCATION,
            "REVOKED",
            found.revoked_at is not None,
            f"Revoked {_ago(found.revoked_at, now)}." if found.revoked_at else "It is not revoked.",
        ),
        Check(
            Subject.ORGANIZATION,
            "REVOKED",
            found.organization_deleted_at is not None,
            f"Its organization was deleted {_ago(found.organization_deleted_at, now)}."
            if found.organization_deleted_at
            else "Its organization is not deleted.",
        ),
        Check(
            Subject.SWITCH,
            "DISABLED",
            found.disabled_at is not None,
            f"Disabled {_ago(found.disabled_at, now)}." if found.disabled_at else "It is enabled.",
        ),
        _expiry(found, now),
        _secret(found, now),
        Check(
            Subject.SUSPENSION,
            "SUSPENDED",
            not found.may_call,
            "Its organization is not suspended." if found.may_call else "Its organization is suspended.",
        ),
        Check(
            Subject.PERSON,
            "FORBIDDEN",
            not found.owner_is_active,
            "Nobody's account stands in the way."
            if found.owner_is_active
            else "The account of the person whose key it is was switched off or deleted.",
        ),
        Check(
            Subject.MEMBERSHIP,
            "FORBIDDEN",
            not found.maker_is_member,
            "Whoever answers for it is a member."
            if found.maker_is_member
            else "Whoever it belongs to, or made it, is not a member of its organization any more.",
        ),
        _scope(found),
        _second_factor(found, now),
        _network(found, ip),
        _spend_cap(found, now),
        _budget(found, now),
        _credits(found, cost),
    ]


def _expiry(found: Found, now: datetime) -> Check:
    if found.expires_at is None:
        return Check(Subject.EXPIRY, "EXPIRED", False, "It never expires.")
    if found.expires_at <= now:
        return Check(Subject.EXPIRY, "EXPIRED", True, f"Expired {_ago(found.expires_at, now)}.")
    return Check(Subject.EXPIRY, "EXPIRED", False, f"It expires in {_ahead(found.expires_at, now)}.")


def _secret(found: Found, now: datetime) -> Check:
    until = found.old_secret_until
    if until is None:
        return Check(Subject.SECRET, "EXPIRED", False, "This is its present secret.")
    if until <= now:
        fact = f"This is the secret from before its rotation, which stopped {_ago(until, now)}."
        return Check(Subject.SECRET, "EXPIRED", True, fact)
    fact = f"This is the secret from before its rotation. It goes on for {_ahead(until, now)}."
    return Check(Subject.SECRET, "EXPIRED", False, fact)


def _scope(found: Found) -> Check:
    scopes = ", ".join(found.scopes) or "none"
    lacks = Scope.JOBS not in found.scopes
    fact = f"Its scopes are {scopes}; {Scope.JOBS} is not among them." if lacks else f"It has {Scope.JOBS}."
    return Check(Subject.SCOPE, "FORBIDDEN", lacks, fact)


def _second_factor(found: Found, now: datetime) -> Check:
    since = found.shut_out_from
    if since is None:
        return Check(Subject.SECOND_FACTOR, "FORBIDDEN", False, "None is missing.")
    fact = "Its owner has no second factor, which the organization requires "
    if since <= now:
        return Check(Subject.SECOND_FACTOR, "FORBIDDEN", True, fact + f"since {_ago(since, now)}.")
    return Check(Subject.SECOND_FACTOR, "FORBIDDEN", False, fact + f"in {_ahead(since, now)}.")


def _network(found: Found, ip: str | None) -> Check:
    if not found.allowed_ips:
        return Check(Subject.NETWORK, "FORBIDDEN", False, "It may be used from anywhere.")
    allowed = ", ".join(found.allowed_ips)
    if ip is None:
        fact = f"It is for calls from {allowed}, and no address is given here: type the caller's."
        return Check(Subject.NETWORK, "FORBIDDEN", True, fact)
    if networks.contain(found.allowed_ips, ip):
        return Check(Subject.NETWORK, "FORBIDDEN", False, f"{ip} is in {allowed}.")
    return Check(Subject.NETWORK, "FORBIDDEN", True, f"{ip} is not in {allowed}.")


def _spend_cap(found: Found, now: datetime) -> Check:
    until = found.spend_cap_reached_until
    if until and until > now:
        fact = f"The cap of this month is reached. Calls go on in {_ahead(until, now)}."
        return Check(Subject.SPEND_CAP, "SPEND_CAP_REACHED", True, fact)
    return Check(Subject.SPEND_CAP, "SPEND_CAP_REACHED", False, "No cap is reached.")


def _budget(found: Found, now: datetime) -> Check:
    until = found.budget_reached_until
    if until and until > now:
        fact = f"Its budget of this month is used up. Calls go on in {_ahead(until, now)}."
        return Check(Subject.BUDGET, "BUDGET_EXCEEDED", True, fact)
    return Check(Subject.BUDGET, "BUDGET_EXCEEDED", False, "No budget is used up.")


def _credits(found: Found, cost: Decimal) -> Check:
    credits = found.credits
    if credits is None:
        return Check(Subject.CREDITS, "OUT_OF_CREDITS", False, "Nothing limits its organization's credits.")
    lacks = credits <= 0 or credits < cost
    have = f"{_number(max(credits, Decimal(0)))} left"
    have += f", and {_number(cost)} needed" if cost else ""
    beyond = "Calls go on without, and are billed" if found.overage_allowed else "Calls end with them"
    return Check(Subject.CREDITS, "OUT_OF_CREDITS", lacks and not found.overage_allowed, f"{have}. {beyond}.")


def _room(state: Taken, now: datetime) -> str:
    seconds = max(0, state.reset - int(now.timestamp()))
    again = f"; all of them again in {seconds} s" if state.remaining < state.limit and state.limit > 0 else ""
    return f"{state.remaining:,} of {state.limit:,} are free at this moment{again}."


def _ago(moment: datetime, now: datetime) -> str:
    return f"{_plain(timesince(moment, now, depth=1))} ago, at {_moment(moment)}"


def _ahead(moment: datetime, now: datetime) -> str:
    return f"{_plain(timeuntil(moment, now, depth=1))}, at {_moment(moment)}"


def _plain(span: str) -> str:
    return span.replace("\xa0", " ")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _number(credits: Decimal) -> str:
    return f"{credits.normalize():,f}"
