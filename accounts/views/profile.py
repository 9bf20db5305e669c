"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.signed_in
def profile(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def change_email(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def delete_account(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def download_data(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
