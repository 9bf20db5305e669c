"""The form of an API key and the way it is stored.

`<brand>_<environment>_<random><checksum>`: 32 random base62 characters (190 bits) and the CRC32 of all before it in
six more, so that a mistyped or invented key is refused without a look-up, and a leaked one is found by its form.
Stored is an HMAC-SHA256 under a pepper that the database does not hold; a slow password hash would protect nothing
that 190 random bits do not.
"""

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass

from django.conf import settings

from accounts.ids import BASE62, random_base62

RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
SHOWN_LENGTH = 4  # of the random part, in a prefix
_FORM = re.compile(rf"[A-Za-z0-9]+_[a-z]+_[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")
_FOREIGN_FORM = re.compile(r"[!-~]{8,512}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Secret:
    """A new key: `plaintext` leaves with the response that creates it and is kept nowhere."""

    plaintext: str
    prefix: str
    last_four: str
    secret_hash: str
    pepper_id: str


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def _hash(plaintext: str, pepper: str) -> str:
    return hmac.new(pepper.encode(), plaintext.encode(), hashlib.sha256).hexdigest()


def generate(word: str) -> Secret:
    """Make a key whose second word is `word`: the environment, or `service` for a key of the data plane."""
    head = f"{settings.KEY_BRAND}_{word}_"
    body = head + random_base62(RANDOM_LENGTH)
    plaintext = body + _checksum(body)
    pepper_id, pepper = list(settings.KEY_PEPPERS.items())[-1]
    return Secret(
        plaintext=plaintext,
        prefix=prefix(plaintext),
        last_four=plaintext[-4:],
        secret_hash=_hash(plaintext, pepper),
        pepper_id=pepper_id,
    )


def prefix(plaintext: str) -> str:
    """What a well-formed key is recognised by: all up to the first characters of its random part."""
    return plaintext[: -(RANDOM_LENGTH + CHECKSUM_LENGTH - SHOWN_LENGTH)]


def is_well_formed(plaintext: str) -> bool:
    """Whether this could be a key of ours: form, brand and checksum. Costs no look-up."""
    return (
        len(plaintext) < 200
        and plaintext.startswith(f"{settings.KEY_BRAND}_")
        and _FORM.fullmatch(plaintext) is not None
        and hmac.compare_digest(_checksum(plaintext[:-CHECKSUM_LENGTH]), plaintext[-CHECKSUM_LENGTH:])
    )


def is_like_ours(text: str) -> bool:
    """Whether something in a text begins like a key of ours and goes on beyond what is shown of one."""
    begins = rf"(?<![0-9A-Za-z]){re.escape(settings.KEY_BRAND)}_"
    shown = rf"{re.escape(settings.KEY_BRAND)}_[a-z]*(_[0-9A-Za-z]{{0,4}}((…|\.\.\.)[0-9A-Za-z]{{4}})?)?"
    return re.search(begins, text) is not None and re.fullmatch(shown, text) is None


def hashes(plaintext: str) -> list[str]:
    """The hashes under which this key may be stored, one for each pepper in use; none for a malformed key.

    What begins like ours must be ours. Anything else can only be a key that was imported.
    """
    if is_well_formed(plaintext):
        kept = plaintext
    elif _FOREIGN_FORM.fullmatch(plaintext) and not plaintext.startswith(f"{settings.KEY_BRAND}_"):
        kept = hashlib.sha256(plaintext.encode()).hexdigest()
    else:
        return []
    return [_hash(kept, pepper) for pepper in settings.KEY_PEPPERS.values()]


def hashes_of_sha256(sha256_hex: str) -> list[str]:
    """The hashes under which an imported key may be stored, the one for a new import last. Raises ValueError."""
    sha256_hex = sha256_hex.strip().lower()
    if not _SHA256.fullmatch(sha256_hex):
        raise ValueError("A SHA-256 is 64 hexadecimal digits.")
    return [_hash(sha256_hex, pepper) for pepper in settings.KEY_PEPPERS.values()]


def hashes_of_import(sha256_hex: str) -> tuple[str, str]:
    """The hash to store for a key of which only the SHA-256 is known, and the pepper's id. Raises ValueError."""
    return hashes_of_sha256(sha256_hex)[-1], list(settings.KEY_PEPPERS)[-1]


def find(text: str) -> list[str]:
    """The well-formed keys of ours in any text, in the order they come, each once. Takes time linear in its length.

    They need no space around them: a log, a URL, JSON and code put other characters right beside a key.
    """
    # Looked for at every place, so that a false start does not swallow the beginning of a true key.
    form = rf"(?=({re.escape(settings.KEY_BRAND)}_[a-z]{{1,20}}_[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}))"
    found = (match[1] for match in re.finditer(form, text))
    return list(dict.fromkeys(key for key in found if is_well_formed(key)))
