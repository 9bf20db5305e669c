"""People, organizations and what joins them; API keys; the audit trail."""

from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Self
from zoneinfo import ZoneInfo

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin

from accounts import permissions, recovery_codes, secrets, time_zones
from accounts.ids import new_uid
from accounts.permissions import Permission, Role
from accounts.words import Words


def uid_field(prefix: str) -> "models.CharField[str, str]":
    return models.CharField(max_length=40, unique=True, editable=False, default=partial(new_uid, prefix))


class UserManager(BaseUserManager["User"]):
    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """In small letters as a whole: nobody tells two mailboxes apart by case, and all look-ups are exact."""
        return (email or "").lower()

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):  # type: ignore[django-manager-missing]
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
    # A deleted account leaves a row without name and address behind, for what points at it.
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_unique")]
        # Of the staff; `config/staff_groups.py` says who has which.
        permissions: ClassVar[Any] = [
            ("sign_out_user", "Can sign a person out everywhere"),
            ("reset_two_factor_user", "Can reset a person's second factor after an identity check"),
            ("resend_verification_user", "Can send a person the letter that verifies their address again"),
            ("manage_staff", "Can change who is on the staff and in which groups"),
            ("view_system", "Can see how the system's parts and periodic tasks are"),
            ("run_sweep", "Can run a periodic task now"),
        ]
        # What staff find and narrow people by.
        indexes = [
            GinIndex(Words("name", "email"), name="user_words"),
            models.Index(fields=["-id"], name="user_staff", condition=Q(is_staff=True)),
            models.Index(fields=["-id"], name="user_inactive", condition=Q(is_active=False)),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def display_name(self) -> str:
        return self.name or self.email


class OrganizationQuerySet(models.QuerySet["Organization"]):
    def open(self) -> Self:
        """Those that nobody has deleted."""
        return self.filter(deleted_at=None)

    def of(self, user: User) -> Self:
        """The organizations that this person is a member of."""
        return self.open().filter(memberships__user=user)


class Organization(models.Model):
    """A customer. Everything a member sees belongs to exactly one."""

    uid = uid_field("org")
    name = models.CharField(max_length=120)
    billing_email = models.EmailField(blank=True)
    time_zone = models.CharField(
        max_length=64, default="UTC", help_text="IANA name; days and months are cut in it."
    )
    # A new zone waits for its next midnight, so that no day is cut twice.
    next_time_zone = models.CharField(max_length=64, blank=True, editable=False)
    next_time_zone_at = models.DateTimeField(null=True, editable=False)
    default_region = models.CharField(max_length=32, blank=True)
    support_may_look = models.BooleanField(
        "support may look",
        default=True,
        help_text="Whether the operator's staff may see its pages as a member does.",
    )
    only_owner_manages_keys = models.BooleanField("only the owner manages API keys", default=False)
    two_factor_required_from = models.DateTimeField(
        null=True, blank=True, help_text="From then on members without a second factor reach only its set-up."
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="How long job details are kept; empty for as long as the plan allows.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    access_version = models.BigIntegerField(default=1, editable=False)
    access_changed_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    # Deleted by its owner, it is kept closed for a while, in which staff can bring it back; then erased.
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    erase_after = models.DateTimeField(null=True, blank=True, editable=False)
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)

    members: "models.ManyToManyField[User, Membership]" = models.ManyToManyField(
        User, through="Membership", related_name="organizations"
    )

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        permissions: ClassVar[Any] = [
            ("look_as_member", "Can look at an organization's pages as one of its members"),
            ("restore_organization", "Can restore a deleted organization"),
            ("recover_organization", "Can give an organization whose owner is gone a new one"),
        ]
        indexes = [GinIndex(Words("name", "billing_email"), name="organization_words")]

    def __str__(self) -> str:
        return self.name

    @property
    def email(self) -> str:
        """Where invoices go; dj-stripe reads it from its subscriber."""
        return self.billing_email

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in force, in which days, months and chosen dates are cut."""
        return self.zone_at(timezone.now())

    def zone_at(self, now: datetime) -> ZoneInfo:
        return time_zones.in_force(self.time_zone, self.next_time_zone, self.next_time_zone_at, now=now)

    @property
    def two_factor_is_due(self) -> bool:
        """Whether members need a second factor by now."""
        return self.two_factor_required_from is not None and self.two_factor_required_from <= timezone.now()

    def bump_access(self) -> None:
        """Tell every cache of keys and entitlements that what it knows of this organization is out of date."""
        type(self).objects.filter(pk=self.pk).update(
            access_version=F("access_version") + 1, access_changed_at=Now()
        )


class MembershipQuerySet(models.QuerySet["Membership"]):
    def of(self, user: User) -> Self:
        """A person's memberships in organizations that are not deleted, with these."""
        return self.filter(user=user, organization__deleted_at=None).select_related("organization")

    def in_order(self) -> Self:
        return self.order_by("organization__name", "organization_id")


class Membership(models.Model):
    """A person's place in an organization, with a role."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # To within some minutes.
    last_active_at = models.DateTimeField(null=True, editable=False)

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
        """What this member may do here, by role and by the organization's settings."""
        return permissions.of_role(
            self.role, only_owner_manages_keys=self.organization.only_owner_manages_keys
        )


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> Self:
        """Those that are neither answered nor revoked; they may have expired."""
        return self.filter(accepted_at=None, declined_at=None, revoked_at=None)

    def in_state(self, state: str) -> Self:
        """Those whose `state` this is."""
        match state:
            case "accepted":
                return self.filter(accepted_at__isnull=False)
            case "declined":
                return self.filter(accepted_at=None, declined_at__isnull=False)
            case "revoked":
                return self.filter(accepted_at=None, declined_at=None, revoked_at__isnull=False)
            case "expired":
                return self.open().filter(expires_at__lte=timezone.now())
        return self.open().filter(expires_at__gt=timezone.now())


class Invitation(models.Model):
    """An address asked to join. Its link holds a random word of which only the hash is kept."""

    uid = uid_field("inv")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.MEMBER)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # None: no mail server has taken its letter yet.
    sent_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    declined_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="invitation_of_org"),
            GinIndex(Words("email"), name="invitation_words"),
            models.Index(fields=["-id"], name="invitation_declined", condition=Q(declined_at__isnull=False)),
            models.Index(fields=["-id"], name="invitation_revoked", condition=Q(revoked_at__isnull=False)),
        ]
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("email"),
                condition=Q(accepted_at=None, declined_at=None, revoked_at=None),
                name="invitation_open_once",
            ),
            models.CheckConstraint(condition=~Q(role=Role.OWNER), name="invitation_not_as_owner"),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def state(self) -> str:
        """`pending`, `accepted`, `declined`, `revoked` or `expired`."""
        if self.accepted_at:
            return "accepted"
        if self.declined_at:
            return "declined"
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else "pending"


class OwnershipOffer(models.Model):
    """The owner's wish to hand an organization over, until the member it is meant for accepts or somebody ends it."""

    uid = uid_field("own")
    organization = models.OneToOneField(Organization, models.CASCADE, related_name="ownership_offer")
    to = models.ForeignKey(User, models.CASCADE, related_name="ownership_offers")
    offered_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.organization} to {self.to}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def with_secret(self, plaintext: str) -> Self:
        """The key whose secret this is, or was before its rotation: unknown, wrong and malformed are all none."""
        hashes = secrets.hashes(plaintext)
        return self.filter(Q(secret_hash__in=hashes) | Q(previous_secret_hash__in=hashes))

    def visible_to(self, person: User | None, organization: Organization) -> Self:
        """The organization's own keys, and the personal ones of this person wherever their home is."""
        visible = Q(kind=ApiKey.Kind.ORGANIZATION, organization=organization)
        if person is not None:
            visible |= Q(kind=ApiKey.Kind.PERSONAL, user=person)
        return self.filter(visible)

    def organization_keys(self) -> Self:
        return self.filter(kind=ApiKey.Kind.ORGANIZATION)

    def live(self) -> Self:
        return self.not_ended().filter(disabled_at=None)

    def not_ended(self) -> Self:
        """Keys that work, or would once enabled."""
        return self.filter(revoked_at=None).exclude(expires_at__lte=Now())

    def ended(self) -> Self:
        return self.filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=Now()))

    def in_state(self, state: str) -> Self:
        """Those whose `state` this is."""
        if state == "revoked":
            return self.filter(revoked_at__isnull=False)
        if state == "disabled":
            return self.filter(revoked_at=None, disabled_at__isnull=False)
        enabled = self.filter(revoked_at=None, disabled_at=None)
        return enabled.filter(expires_at__lte=Now()) if state == "expired" else enabled.not_ended()


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
    allowed_ips = ArrayField(
        models.CharField(max_length=43), default=list, blank=True, help_text="Networks (CIDR); empty for any."
    )
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    monthly_credit_budget = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    # Written by usage when a month's credits reach the budget: the end of that month.
    budget_reached_until = models.DateTimeField(null=True, blank=True, editable=False)
    prefix = models.CharField(max_length=64, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    pepper_id = models.CharField(max_length=16, editable=False)
    # What the secret was before the last rotation; it works until then.
    previous_secret_hash = models.CharField(  # noqa: DJ001  (unique: several keys have none)
        max_length=64, unique=True, null=True, editable=False
    )
    previous_last_four = models.CharField(max_length=4, blank=True, editable=False)
    previous_expires_at = models.DateTimeField(null=True, editable=False)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Support has asked for a rotation: without one the key is disabled then.
    rotate_by = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        permissions: ClassVar[Any] = [
            ("disable_apikey", "Can disable and enable API keys"),
            ("revoke_apikey", "Can revoke API keys"),
            ("rotate_apikey", "Can rotate API keys"),
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="api_key_of_organization"),
            models.Index(
                fields=["rotate_by"], condition=Q(rotate_by__isnull=False), name="api_key_to_be_rotated"
            ),
            # What staff search and filter in all organizations by.
            GinIndex(Words("name"), name="api_key_words"),
            models.Index(fields=["prefix"], name="api_key_prefix", opclasses=["varchar_pattern_ops"]),
            models.Index(fields=["last_four"], name="api_key_last_four"),
            models.Index(fields=["kind", "-id"], name="api_key_of_kind", condition=~Q(kind="organization")),
            models.Index(fields=["-id"], name="api_key_disabled", condition=Q(disabled_at__isnull=False)),
            models.Index(fields=["-id"], name="api_key_revoked", condition=Q(revoked_at__isnull=False)),
            models.Index(
                fields=["expires_at"], name="api_key_expiring", condition=Q(expires_at__isnull=False)
            ),
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
        return f"{self.name} ({self.masked})" if self.prefix or self.last_four else self.name

    @property
    def label(self) -> str:
        """Its name, and its last characters where they are known: of an imported key they need not be."""
        return f"{self.name} (…{self.last_four})" if self.last_four else self.name

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

    @property
    def is_in_grace(self) -> bool:
        """Whether the secret before the last rotation still works."""
        return self.previous_expires_at is not None and self.previous_expires_at > timezone.now()


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")


class AuditEntry(models.Model):
    """Who did what to what, from where, with before and after. Written by `accounts.audit.record` and never changed.

    A trigger refuses changes, whoever makes them; see migration 0005. People and organizations may be gone: then only
    the names tell of them.
    """

    organization = models.ForeignKey(
        Organization, models.DO_NOTHING, null=True, related_name="audit_entries", db_constraint=False
    )
    organization_name = models.CharField(max_length=120, blank=True)
    actor = models.ForeignKey(User, models.DO_NOTHING, null=True, related_name="+", db_constraint=False)
    actor_name = models.CharField(max_length=254)
    # The operator's staff, in an organization that is not theirs: customers see that, not who it was.
    by_staff = models.BooleanField(default=False)
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
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="audit_of_organization"),
            # What staff search in all organizations by.
            models.Index(fields=["action", "-id"], name="audit_of_action"),
            models.Index(fields=["actor_name", "-id"], name="audit_of_actor"),
            models.Index(fields=["target_uid", "-id"], name="audit_of_target"),
            models.Index(fields=["-id"], name="audit_by_staff", condition=Q(by_staff=True)),
            # Rows lie in the order of their time, so where which time lies is all that is to be known.
            BrinIndex(fields=["created_at"], name="audit_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_name}"


class EmailChange(models.Model):
    """A person's wish to sign in with another address, until both addresses have confirmed it."""

    user = models.OneToOneField(User, models.CASCADE, related_name="email_change")
    new_email = models.EmailField()
    old_token_hash = models.CharField(max_length=64, unique=True, editable=False)
    new_token_hash = models.CharField(max_length=64, unique=True, editable=False)
    old_confirmed_at = models.DateTimeField(null=True, editable=False)
    new_confirmed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.user} to {self.new_email}"


class RecoveryCodes(ThrottlingMixin, Device):  # type: ignore[misc]
    """The codes that stand in for a lost device, each once. Only their hashes are kept."""

    hashes = ArrayField(models.CharField(max_length=64), default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "recovery codes"
        constraints = [models.UniqueConstraint(fields=["user"], name="recovery_codes_once")]

    def verify_token(self, token: str) -> bool:
        """Spend a code, which the database does once however many try. Counts and delays wrong ones."""
        allowed, _ = self.verify_is_allowed()
        if not allowed:
            return False
        code = recovery_codes.code_hash(token)
        was_there = type(self).objects.filter(pk=self.pk, hashes__contains=[code])
        spent = was_there.update(hashes=Func(F("hashes"), Value(code), function="array_remove"))
        if spent:
            self.throttle_reset(commit=False)
        else:
            self.throttle_increment(commit=False)
        # Not the hashes: somebody else may have spent one meanwhile.
        self.save(update_fields=["throttling_failure_timestamp", "throttling_failure_count"])
        return bool(spent)

    def get_throttle_factor(self) -> int:
        return 1


class NoticeKind(models.TextChoices):
    """What a notice is about: what a person switches on and off. Upper apps send theirs under these names."""

    SECURITY = "security"
    TEAM = "team"
    API_KEYS = "api_keys", "API keys"
    USAGE = "usage"
    WEBHOOKS = "webhooks"
    BILLING = "billing"


class NotificationQuerySet(models.QuerySet["Notification"]):
    def unread(self) -> Self:
        return self.filter(read_at=None)

    def due(self) -> Self:
        """Those to be mailed now, by the clock of the caller."""
        return self.filter(by_mail=True, emailed_at=None, next_mail_at__lte=timezone.now())


class Notification(models.Model):
    """Something a person is told, in the pages' bell and by mail. `key` names the fact: nobody is told it twice."""

    uid = uid_field("ntf")
    user = models.ForeignKey(User, models.CASCADE, related_name="notifications")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=16, choices=NoticeKind.choices)
    key = models.CharField(max_length=160)
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    url = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    read_at = models.DateTimeField(null=True, editable=False)
    # Whether it is to be mailed, by the person's preference of the moment; a sweep mails what waits.
    by_mail = models.BooleanField(default=True)
    mail_attempts = models.PositiveSmallIntegerField(default=0)
    next_mail_at = models.DateTimeField(default=timezone.now)
    emailed_at = models.DateTimeField(null=True, editable=False)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="notification_of_user"),
            models.Index(
                fields=["next_mail_at"],
                condition=Q(by_mail=True, emailed_at=None),
                name="notification_to_mail",
            ),
        ]
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="notification_once")]

    def __str__(self) -> str:
        return self.title


class NotificationPreference(models.Model):
    """That a person wants a kind of notice by mail or not; without a row they do. No organization: their account's."""

    user = models.ForeignKey(User, models.CASCADE, related_name="notification_preferences")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=16, choices=NoticeKind.choices)
    by_mail = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "organization", "kind"],
                nulls_distinct=False,
                name="notification_preference_once",
            )
        ]


class NoteQuerySet(models.QuerySet["Note"]):
    def standing(self) -> Self:
        """Those that nobody has taken back."""
        return self.filter(removed_at=None)

    def warnings(self) -> Self:
        """What is shown wherever its subject is."""
        return self.standing().filter(is_pinned=True)

    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")


class Note(models.Model):
    """What support keeps in mind about an organization or a person. Customers see no notes; see `accounts.notes`."""

    class Kind(models.TextChoices):
        REMARK = "remark"
        CONVERSATION = "conversation", "Call or e-mail"
        IDENTITY_CHECK = "identity_check"
        AGREEMENT = "agreement"
        INCIDENT = "incident"
        WARNING = "warning"

    uid = uid_field("note")
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, related_name="notes"
    )
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="notes")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.REMARK)
    text = models.TextField(max_length=4000)
    is_pinned = models.BooleanField("pinned", default=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    removed_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    removed_at = models.DateTimeField(null=True, editable=False)

    objects = NoteQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="note_of_organization"),
            models.Index(fields=["user", "-created_at", "-id"], name="note_of_user"),
        ]
        constraints = [
            models.CheckConstraint(
                name="note_on_one_thing",
                condition=Q(organization__isnull=False, user=None) | Q(organization=None, user__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} on {self.organization or self.user}"


class Run(models.Model):
    """The last run of a piece of periodic work, by its task; or the last sign of life of a process. See `runs`."""

    name = models.CharField(max_length=100, primary_key=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    # What the last run that ended failed with; and since when none has succeeded.
    problem = models.CharField(max_length=300, blank=True)
    failing_since = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True, help_text="When it was last asked for by hand.")
    seen_at = models.DateTimeField(null=True, help_text="When the process last said that it lives.")

    def __str__(self) -> str:
        return self.name
