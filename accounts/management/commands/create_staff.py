import getpass
import io
import secrets
import sys
from argparse import BooleanOptionalAction
from typing import Any

import qrcode
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from accounts import staff, two_factor
from accounts.models import User


class Command(BaseCommand):
    help = "Put somebody on the support staff and enrol the device they sign in to the admin with."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument("--name", default="")
        parser.add_argument(
            "--password", help="For scripts. Asked for at a terminal, and made up where there is none."
        )
        parser.add_argument(
            "--superuser",
            action=BooleanOptionalAction,
            help="May do everything; so for new staff unless --no-superuser, or a group is given.",
        )
        parser.add_argument(
            "--group",
            action="append",
            default=[],
            help="A group to be in, such as Support; can be repeated. For somebody on the staff, a further one.",
        )
        parser.add_argument(
            "--new-device",
            action="store_true",
            help="Enrol another device although there is one, for somebody who lost theirs.",
        )

    def handle(
        self,
        *args: Any,
        email: str,
        name: str,
        password: str | None,
        superuser: bool | None,
        group: list[str],
        new_device: bool,
        **options: Any,
    ) -> None:
        known = User.objects.filter(email__iexact=email).first()
        needs_device = new_device or not (known and two_factor.has_device(known))
        if known and known.is_staff and not needs_device and not group:
            self.stdout.write(
                f"{known.email} is on the staff already, with a device: nothing was changed. "
                "--new-device enrols another one."
            )
            return
        generated = not known and password is None and not sys.stdin.isatty()
        if not known and password is None:
            password = secrets.token_urlsafe(15) if generated else _ask_password(email)
        try:
            validate_email(email)
            with transaction.atomic():
                user = staff.make_staff(
                    email=email, name=name, password=password, is_superuser=superuser, groups=group
                )
                enrolment = two_factor.enrol_totp(user=user, actor=None) if needs_device else None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(self.style.SUCCESS(f"{user.email} may now open the admin."))
        if generated:
            self.stdout.write(f"Password, shown once: {password}")
        if enrolment:
            self.stdout.write("Scan this with an authenticator app, or type the secret in. Shown once.")
            self.stdout.write(_drawing(enrolment.url))
            self.stdout.write(f"Secret: {enrolment.secret}\n{enrolment.url}")


def _ask_password(email: str) -> str:
    password = getpass.getpass(f"Password for {email}: ")
    if password != getpass.getpass("Again: "):
        raise CommandError("The two passwords differ.")
    return password


def _drawing(text: str) -> str:
    """A QR code in half-block characters, light on dark as most terminals are."""
    code = qrcode.QRCode(border=2)
    code.add_data(text)
    drawing = io.StringIO()
    code.print_ascii(out=drawing, invert=True)
    return drawing.getvalue()
