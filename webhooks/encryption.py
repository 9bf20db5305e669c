"""Secrets at rest: encrypted with the first of `ENCRYPTION_KEYS`, read with any of them.

A new key is put first, and what is stored under the older ones is written again by `manage.py reencrypt_secrets`;
after that the older ones may go.
"""

from functools import cache, lru_cache

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def encrypt(text: str) -> str:
    return _cipher(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Raises cryptography.fernet.InvalidToken when none of the keys is the one it was written with."""
    return _decrypted(tuple(settings.ENCRYPTION_KEYS), token)


def renewed(token: str) -> str:
    """The same secret under the present key."""
    return _cipher(tuple(settings.ENCRYPTION_KEYS)).rotate(token.encode()).decode()


@lru_cache(maxsize=4_096)  # what is sent to the same endpoints is signed with the same secrets
def _decrypted(keys: tuple[str, ...], token: str) -> str:
    return _cipher(keys).decrypt(token.encode()).decode()


@cache
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
