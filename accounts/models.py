"""People, organizations and what joins them; API keys; the audit trail."""

from functools import partial
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.utils import timezone

from accounts import permissions, secrets
from accounts.cursors import Cursor
from accounts.ids import new_uid
from accounts.permissions import Permission, Role


def uid_field(prefix: str) -> "models.CharField[str, str]":
    return models.CharField(max_length=40, unique=True, editable=False, default=partial(new_uid, prefix))


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, known by their e-mail address."""

    uid = uid_field("usr")
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(
        default=True, help_text="Switch off instead of deleting: sign-in stops at once."
    )
    is_staff = models.BooleanField(
        "support staff", default=False, help_text="May open this admin, with a device."
    )
    date_joined = models.DateTimeField(default=timezone.now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_unique")]

    def __str__(self) -> str:
        return self.email

    @property
    def display_name(self) -> str:
        return self.name or self.email


class OrganizationQuerySet(models.QuerySet["Organization"]):
    def of(self, user: User) -> Self:
        """The organizations that this person is a member of."""
        return self.filter(memberships__user=user)


class Organization(models.Model):
    """A customer. Everything a member sees belongs to exactly one."""

    uid = uid_field("org")
    name = models.CharField(max_length=120)
    billing_email = models.EmailField(blank=True)
    time_zone = models.CharField(
        max_length=64, default="UTC", help_text="IANA name; days and months are cut in it."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    access_version = models.BigIntegerField(default=1, editable=False)
    access_changed_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    members: "models.ManyToManyField[User, Membership]" = models.ManyToManyField(
        User, through="Membership", related_name="organizations"
    )

    objects = OrganizationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def email(self) -> str:
        """Where invoices go; dj-stripe reads it from its subscriber."""
        return self.billing_email

    def bump_access(self) -> None:
        """Tell every cache of keys and entitlements that what it knows of this organization is out of date."""
        type(self).objects.filter(pk=self.pk).update(
            access_version=F("access_version") + 1, access_changed_at=Now()
        )


class MembershipQuerySet(models.QuerySet["Membership"]):
    def in_order(self) -> Self:
        return self.order_by("organization__name", "organization_id")


class Membership(models.Model):
    """A person's place in an organization, with a role."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="membership_once"),
            models.UniqueConstraint(
                fields=["organization"], condition=Q(role=Role.OWNER), name="membership_one_owner"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}"

    @property
    def permissions(self) -> frozenset[Permission]:
        return permissions.of_role(self.role)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def with_secret(self, plaintext: str) -> Self:
        """The key whose secret this is, or none: unknown, wrong and malformed are all the same answer."""
        return self.filter(secret_hash__in=secrets.hashes(plaintext))

    def organization_keys(self) -> Self:
        return self.filter(kind=ApiKey.Kind.ORGANIZATION)

    def live(self) -> Self:
        return self.not_ended().filter(disabled_at=None)

    def not_ended(self) -> Self:
        """Keys that work, or would once enabled."""
        return self.filter(revoked_at=None).exclude(expires_at__lte=Now())

    def ended(self) -> Self:
        return self.filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=Now()))

    def after(self, cursor: Cursor) -> Self:
        """What follows this place in a list that is sorted newest first."""
        return self.filter(
            Q(created_at__lt=cursor.created_at) | Q(created_at=cursor.created_at, id__lt=cursor.id)
        )


class ApiKey(models.Model):
    """A credential. The secret itself is in nobody's hands but the customer's; see `accounts.secrets`."""

    class Kind(models.TextChoices):
        ORGANIZATION = "organization"
        PERSONAL = "personal"
        SERVICE = "service"

    class Environment(models.TextChoices):
        PRODUCTION = "production"
        STAGING = "staging"
        DEVELOPMENT = "development"

    uid = uid_field("key")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.ORGANIZATION)
    # A personal key's organization is its home: what it speaks for when a call names none.
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, related_name="api_keys"
    )
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="personal_keys")
    # None: made by the system. Never forgotten, for a key may do no more than its maker.
    created_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="created_keys")
    name = models.CharField(max_length=80)
    environment = models.CharField(max_length=16, choices=Environment.choices, default=Environment.PRODUCTION)
    scopes = ArrayField(models.CharField(max_length=40), default=list)
    prefix = models.CharField(max_length=64, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    pepper_id = models.CharField(max_length=16, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="api_key_of_organization")
        ]
        constraints = [
            models.CheckConstraint(
                name="api_key_kind_has_its_owner",
                condition=Q(kind="organization", organization__isnull=False, user=None)
                | Q(kind="personal", organization__isnull=False, user__isnull=False)
                | Q(kind="service", organization=None, user=None),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.masked})"

    @property
    def masked(self) -> str:
        return f"{self.prefix}…{self.last_four}"

    @property
    def state(self) -> str:
        """`active`, `disabled`, `expired` or `revoked`; the strongest reason first."""
        if self.revoked_at:
            return "revoked"
        if self.disabled_at:
            return "disabled"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "active"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")


class AuditEntry(models.Model):
    """Who did what to what, from where, with before and after. Written by `accounts.audit.record` and never changed."""

    organization = models.ForeignKey(
        Organization, models.SET_NULL, null=True, related_name="audit_entries", db_constraint=False
    )
    organization_name = models.CharField(max_length=120, blank=True)
    actor = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", db_constraint=False)
    actor_name = models.CharField(max_length=254)
    api_key_uid = models.CharField(max_length=40, blank=True)
    action = models.CharField(max_length=64)
    target_type = models.CharField(max_length=40)
    target_uid = models.CharField(max_length=64, blank=True)
    target_name = models.CharField(max_length=254)
    ip = models.GenericIPAddressField(null=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["organization", "-created_at", "-id"], name="audit_of_organization")]

    def __str__(self) -> str:
        return f"{self.action} {self.target_name}"
