"""The form of recovery codes: `k3mz-7qwx-p04d-vt9h`, easy to copy by hand. Only their hashes are stored."""

import hashlib
import secrets

# Crockford's base 32: no letter looks like a digit.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MISREAD = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None})


def new_code() -> str:
    """A new code of 80 random bits."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(16))
    return "-".join(letters[at : at + 4] for at in range(0, 16, 4))


def code_hash(typed: str) -> str:
    """The hash of a code, however it was typed. With so many random bits nothing slower than SHA-256 is needed."""
    code = "".join(typed.lower().split()).translate(_MISREAD)
    return hashlib.sha256(code.encode()).hexdigest()
