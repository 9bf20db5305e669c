"""E-mail addresses, as people type them and as they are kept."""

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

LONGEST = 254


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
    if len(address) > LONGEST:
        raise ValidationError(f"An address has at most {LONGEST} characters.")
    return address.lower()
