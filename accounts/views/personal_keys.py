"""A person's own keys: everybody has them, whatever their role, and nobody else sees them."""

from typing import Any

from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import keys
from accounts.access import MemberRequest, actor_of, member_page
from accounts.models import ApiKey, Membership
from accounts.permissions import Permission
from accounts.views.api_keys import creation, key_list


@member_page(Permission.ORGANIZATION_VIEW)
@require_safe
def personal_keys(request: MemberRequest) -> HttpResponse:
    """One's own keys, wherever their home is: also those of an organization that one has left can still work."""
    homes = Membership.objects.of(request.user).filter(organization=OuterRef("organization"))
    own = ApiKey.objects.filter(kind=ApiKey.Kind.PERSONAL, user=request.user)
    return key_list(
        request, "accounts/personal_keys.html", own.annotate(is_at_home=Exists(homes)), may_manage=True
    )


@member_page(Permission.ORGANIZATION_VIEW)
@never_cache
@require_http_methods(["GET", "POST"])
def create_personal_key(request: MemberRequest) -> HttpResponse:
    """Make a key of one's own, with this organization as its home."""

    def make(**values: Any) -> tuple[ApiKey, str]:
        return keys.create_personal_key(
            user=request.user, organization=request.organization, actor=actor_of(request), **values
        )

    return creation(request, make, back="accounts:personal_keys")
