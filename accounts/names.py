"""What people may call things."""

import unicodedata

from django.core.exceptions import ValidationError


def validate_name(name: str) -> None:
    """Raise ValidationError for characters that cannot be seen: they break logs, exports, letters and people's eyes."""
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in name):
        raise ValidationError("Leave out line breaks and other characters that cannot be seen.")
