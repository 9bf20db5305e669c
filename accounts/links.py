"""Words for links that are mailed: whoever holds one may do what it was made for. Only their hashes are stored."""

import hashlib

from accounts.ids import random_base62

LENGTH = 32  # 190 random bits: nothing slower than SHA-256 is needed


def new_token() -> tuple[str, str]:
    """A new word, and its hash to be stored."""
    token = random_base62(LENGTH)
    return token, token_hash(token)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
