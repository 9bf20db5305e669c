"""What people type about their team, checked."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts import permissions
from accounts.models import Membership
from accounts.names import LONGEST_ADDRESS, clean_address
from accounts.permissions import Role

MOST_AT_ONCE = 20

ROLE_SENTENCES = {
    Role.OWNER: "Everything, and nobody else: billing, handing the organization over, deleting it.",
    Role.ADMIN: "Manages people, API keys, webhooks and settings, and sees billing and the audit trail.",
    Role.MEMBER: "Sees usage, jobs and keys; manages alerts and pipelines, and exports usage.",
    Role.VIEWER: "Looks at usage, jobs, keys and the team, and changes nothing.",
}


class RoleForm(forms.Form):
    """A role: of those that whoever chooses may give."""

    role = forms.ChoiceField(widget=forms.RadioSelect, error_messages={"required": "Choose a role."})

    def __init__(self, data: Any = None, *, chooser: Membership, initial: str = Role.MEMBER) -> None:
        super().__init__(data, initial={"role": initial})
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (role.value, role.label) for role in Role if permissions.reaches(chooser.permissions, role)
        ]

    def roles(self) -> list[dict[str, Any]]:
        return [{"box": box, "sentence": ROLE_SENTENCES[Role(box.data["value"])]} for box in self["role"]]


class InviteForm(RoleForm):
    emails = forms.CharField(
        label="E-mail addresses",
        max_length=MOST_AT_ONCE * LONGEST_ADDRESS,
        error_messages={"required": "Write at least one address."},
        help_text=f"One a line, or with commas between; up to {MOST_AT_ONCE} at once.",
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_emails(self) -> list[str]:
        """The addresses, each once."""
        words = [word for word in re.split(r"[\s,;]+", self.cleaned_data["emails"]) if word]
        if not words:
            raise ValidationError("Write at least one address.")
        if len(words) > MOST_AT_ONCE:
            raise ValidationError(f"Invite at most {MOST_AT_ONCE} people at once.")
        addresses = []
        for word in words:
            try:
                addresses.append(clean_address(word))
            except ValidationError as error:
                raise ValidationError(f"{word}: {' '.join(error.messages)}") from error
        return list(dict.fromkeys(addresses))


class TransferForm(forms.Form):
    """Whom the organization is offered to."""

    member = forms.ChoiceField(
        label="New owner",
        error_messages={"required": "Choose a member.", "invalid_choice": "Choose a member."},
    )

    def __init__(self, data: Any = None, *, candidates: list[Membership], initial: str = "") -> None:
        super().__init__(data, initial={"member": initial})
        field = self.fields["member"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            ("", "Choose a member"),
            *((each.user.uid, f"{each.user.display_name} ({each.user.email})") for each in candidates),
        ]
