"""What staff paste to look for may be a secret: it is led away before it is part of an address, a page or the trail."""

import re

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_variables

from accounts import links, secrets
from accounts.models import ApiKey, EmailChange, Invitation
from accounts.redaction import FOREIGN_SECRET, redacted

# Nobody looks for the seed of a device for codes, but a mail may hold one.
_SEED = re.compile(r"otpauth://|(?<![0-9A-Za-z])[A-Z2-7]{32}(?![0-9A-Za-z])")
_LINK_WORD = re.compile(rf"[0-9A-Za-z]{{{links.LENGTH}}}")


@sensitive_variables()
def key_in(text: str) -> str:
    """The key that somebody pasted, perhaps with what stood around it."""
    return (secrets.find(text) or [text.strip().removeprefix("Bearer ")])[0]


@sensitive_variables()
def is_secret(text: str) -> bool:
    """Whether a text holds a secret by its form: a key, whole or damaged, a link that was mailed, or a foreign one."""
    if secrets.is_like_ours(text) or FOREIGN_SECRET.search(text) or _SEED.search(text):
        return True
    return "/" in text and redacted(text) != text


@sensitive_variables()
def _opens_a_link(text: str) -> bool:
    """Whether this is the word of a mailed link; a job's id may have the same form."""
    if not _LINK_WORD.fullmatch(text):
        return False
    word = links.token_hash(text)
    return (
        Invitation.objects.filter(token_hash=word).exists()
        or EmailChange.objects.filter(old_token_hash=word).exists()
        or EmailChange.objects.filter(new_token_hash=word).exists()
    )


@sensitive_variables()
def answer(request: HttpRequest, text: str, *, back: str) -> HttpResponse | None:
    """Lead from a secret to its key's page, or back without a word of it. None for what is no secret."""
    pasted = key_in(text)
    key = ApiKey.objects.with_secret(pasted).first()
    if key is None and not is_secret(text) and not _opens_a_link(text):
        return None
    if not request.user.has_perm("accounts.view_apikey"):
        messages.error(request, "This is a key, and keys are not open to you.")
    elif key:
        return redirect("admin:accounts_apikey_change", key.pk)
    elif secrets.is_well_formed(pasted):
        messages.warning(request, "There is no such key. It is well-formed, but nobody was ever given it.")
    elif secrets.is_like_ours(text):
        messages.warning(
            request,
            "This begins like a key of ours and is none: it was mistyped, or cut off when it was copied.",
        )
    else:
        messages.warning(request, "This is a secret, but no key of ours. It was not looked for.")
    return redirect(back)
