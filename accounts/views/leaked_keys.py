"""The page on which an organization ends keys that were seen where they should not be."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import leaked_keys as leaks
from accounts.access import MemberRequest, actor_of, member_page
from accounts.key_forms import LeakForm
from accounts.permissions import Permission


@member_page(Permission.API_KEYS_MANAGE)
@never_cache
@require_http_methods(["GET", "POST"])
def leaked_keys(request: MemberRequest) -> HttpResponse:
    """Take a text, and revoke at once the organization's keys in it. The text is in no answer."""
    form = LeakForm(request.POST, request.FILES) if request.method == "POST" else LeakForm()
    search, ended = None, []
    if request.method == "POST" and form.is_valid():
        search = leaks.search(form.all_text(), organization=request.organization)
        place, actor = form.cleaned_data["place"], actor_of(request)
        ended = [(leak, leaks.end(leak, place=place, actor=actor)) for leak in search.leaks]
        form = LeakForm()
    return render(
        request,
        "accounts/leaked_keys.html",
        {"form": form, "search": search, "ended": ended},
        status=400 if form.errors else 200,
    )
