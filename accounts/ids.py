"""Public ids: a prefix that says what it names, and enough randomness that nobody guesses another one."""

import secrets

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def random_base62(length: int) -> str:
    number, characters = secrets.randbelow(62**length), ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        characters += BASE62[digit]
    return characters


def new_uid(prefix: str) -> str:
    """A new public id such as `org_3kTq…`, with 119 random bits."""
    return f"{prefix}_{random_base62(20)}"
