"""Names and e-mail addresses, as people type them and as they are kept."""

import unicodedata

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

LONGEST_ADDRESS = 254


def validate_name(name: str) -> None:
    """Raise ValidationError for characters that cannot be seen: they break logs, exports, letters and people's eyes."""
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in name):
        raise ValidationError("Leave out line breaks and other characters that cannot be seen.")


def clean_name(name: object, *, what: str, longest: int) -> str:
    """The name of `what`, in the one form that Unicode has for it. Raises ValidationError."""
    if not isinstance(name, str) or not name.strip():
        raise ValidationError(f"Give the {what} a name.")
    name = unicodedata.normalize("NFC", name.strip())
    if len(name) > longest:
        raise ValidationError(f"A name has at most {longest} characters.")
    validate_name(name)
    return name


def clean_address(text: str) -> str:
    """The address in the one form in which it is kept: in small letters, and ASCII only.

    Django's own check lets through letters that look like ASCII ones, or turn into them when their case changes; with
    these one could pass for somebody else. Raises ValidationError.
    """
    address = text.strip()
    validate_email(address)
    if not (address.isascii() and address.isprintable()):
        raise ValidationError(
            "Write the address in plain letters (a–z); a domain with others in it has a form that begins with xn--."
        )
    if len(address) > LONGEST_ADDRESS:
        raise ValidationError(f"An address has at most {LONGEST_ADDRESS} characters.")
    return address.lower()
