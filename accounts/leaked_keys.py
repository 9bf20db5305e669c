"""Keys seen where they should not be: found in any text by form and checksum, ended, and their people told.

The text is searched and forgotten. What goes on is which keys were in it, by id and last characters.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import audit, key_notices, keys, notifications, secrets
from accounts.audit import Actor
from accounts.models import ApiKey, NoticeKind, Organization

# Looked up at once: enough for any list of keys, and a bound on what a made-up one costs.
_BATCH = 1000
# What a key made elsewhere could be, alone or beside the signs that code and addresses put around it. Ours are found
# inside of words too.
_WORDS = (re.compile(r"[A-Za-z0-9_-]{8,512}"), re.compile(r"[A-Za-z0-9_~.+/=-]{8,512}"))


@dataclass(frozen=True)
class Leak:
    """A secret that was found: the key it belongs to, and its last characters, for a key may have two."""

    key: ApiKey
    last_four: str

    @property
    def is_old(self) -> bool:
        """Whether the key has been rotated since, so that its present secret is still unknown to others."""
        return self.last_four != self.key.last_four


@dataclass(frozen=True)
class Search:
    """What a text held: keys of ours, and how many others have the form of one."""

    leaks: list[Leak]
    others: int


def search(text: str, *, organization: Organization | None = None) -> Search:
    """Find the keys in a text: all there are, or an organization's and the personal ones at home there.

    Of other keys only the number is told, whether they exist or not: nobody learns what others have.
    """
    scope = ApiKey.objects.select_related("organization", "user", "created_by")
    if organization is not None:
        scope = scope.filter(organization=organization)
    ours = secrets.find(text)
    leaks: dict[tuple[int, str], Leak] = {}
    found: set[str] = set()
    for secret, leak in _look_up(ours + _made_elsewhere(text, scope), scope):
        leaks[leak.key.pk, leak.last_four] = leak
        found.add(secret)
    return Search(list(leaks.values()), others=len(set(ours) - found))


def _made_elsewhere(text: str, scope: QuerySet[ApiKey]) -> list[str]:
    """The words that could be imported keys, which have no form of ours: they end like one of them.

    One whose last characters were never told is found when it is all of the text.
    """
    imported = scope.exclude(prefix__startswith=f"{settings.KEY_BRAND}_").values_list("last_four", flat=True)
    rotated = scope.exclude(previous_last_four="").values_list("previous_last_four", flat=True)
    endings = {*imported, *rotated} - {""}
    words = {word for form in _WORDS for word in form.findall(text)} if endings else set()
    return [text.strip(), *(word for word in words if word[-4:] in endings)]


def _look_up(plaintexts: list[str], scope: QuerySet[ApiKey]) -> Iterable[tuple[str, Leak]]:
    for start in range(0, len(plaintexts), _BATCH):
        by_hash = {
            hashed: plaintext
            for plaintext in plaintexts[start : start + _BATCH]
            for hashed in secrets.hashes(plaintext)
        }
        known = Q(secret_hash__in=by_hash) | Q(previous_secret_hash__in=by_hash)
        for key in scope.filter(known):
            if key.secret_hash in by_hash:
                yield by_hash[key.secret_hash], Leak(key, key.last_four)
            if key.previous_secret_hash in by_hash:
                yield by_hash[key.previous_secret_hash], Leak(key, key.previous_last_four)


@transaction.atomic
def end(leak: Leak, *, place: str, actor: Actor | None) -> str:
    """Make a found secret useless and tell whom it concerns, once. Returns what came of it, in words.

    The key is revoked; where only its old secret was found, that stops and the key goes on.
    """
    key = leak.key
    if leak.is_old:
        did_it, outcome = keys.end_grace(key=key, actor=actor), "Its old secret, which works no longer"
    else:
        did_it, outcome = keys.revoke(key=key, actor=actor), "Revoked"
    if not did_it:
        return "Its old secret, which had stopped before" if leak.is_old else "Had been revoked before"
    audit.record(
        audit.Action.API_KEY_LEAKED,
        actor=actor,
        organization=key.organization,
        target=key,
        after={"place": place, "secret": f"…{leak.last_four}"},
    )
    _tell(leak, place)
    return outcome


def _tell(leak: Leak, place: str) -> None:
    """Tell the owner of the organization and whoever made the key; of a personal or service key its maker too."""
    key, organization = leak.key, leak.key.organization
    what = "The old secret of an API key leaked" if leak.is_old else "An API key leaked and is revoked"
    tell = partial(
        notifications.notify,
        kind=NoticeKind.API_KEYS,
        key=f"{audit.Action.API_KEY_LEAKED}:{key.uid}:{leak.last_four}",
        title=f"{what}: {key.name}",
        body=f"“{key.name}” (…{leak.last_four}) was found here: {place}\n"
        "That secret works no longer. Give the programs that used it a new one, and look at what was called with it.",
    )
    if organization is None or key.user:
        people = [person for person in (key.user or key.created_by,) if person]
        tell(people)
    if organization is not None:
        url = key_notices.address(key) if key.user is None else ""
        tell(key_notices.owner_and_maker(key), organization=organization, url=url)
