"""Words for links that are mailed: whoever holds one may do what it was made for. Only their hashes are stored."""

import hashlib
import logging
import re

from accounts.ids import random_base62

LENGTH = 32  # 190 random bits: nothing slower than SHA-256 is needed
_WORD = re.compile(rf"(?<![0-9A-Za-z])[0-9A-Za-z]{{{LENGTH}}}(?![0-9A-Za-z])")


class WithoutWords(logging.Filter):
    """Keeps these words out of the log, where the path of a refused request would bring them."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if _WORD.search(message):
            record.msg, record.args = _WORD.sub("…", message), ()
        return True


def new_token() -> tuple[str, str]:
    """A new word, and its hash to be stored."""
    token = random_base62(LENGTH)
    return token, token_hash(token)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
