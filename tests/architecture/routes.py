"""All addresses there are, and what each of them says about who may come in."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.access import HasPermission
from accounts.permissions import Permission

# Views of libraries, which guard themselves. Those of allauth are for anybody, or send strangers to sign in; that of
# dj-stripe takes what Stripe has signed.
LIBRARIES = ("allauth.", "django.contrib.admin.", "django.contrib.auth.", "djstripe.", "unfold.")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Route:
    path: str
    view: Callable[..., Any]

    @property
    def is_of_the_admin(self) -> bool:
        return self.path.startswith("admin/")

    @property
    def is_of_the_api(self) -> bool:
        return self.path.startswith("api/v1/")

    @property
    def is_of_a_library(self) -> bool:
        module = getattr(self.view, "view_class", self.view).__module__
        return self.is_of_the_admin or module.startswith(LIBRARIES)

    @property
    def api_view(self) -> Any:
        """The class of a view of the REST framework, or None."""
        view_class = getattr(self.view, "cls", None) or getattr(self.view, "view_class", None)
        return view_class if hasattr(view_class, "permission_classes") else None

    @property
    def access(self) -> Any:
        """What the view declares, or None."""
        if self.api_view is None:
            return getattr(self.view, "access", None)
        if self.api_view.permission_classes == [HasPermission]:
            return getattr(self.api_view, "permission", None)
        [access] = self.api_view.permission_classes
        return access

    @property
    def methods(self) -> list[str]:
        """The methods it may answer to. Which of these a page takes, it alone knows."""
        if self.api_view is None:
            return ["GET", "POST"]
        return [method for method in METHODS if hasattr(self.api_view, method.lower())]

    @property
    def arguments(self) -> list[str]:
        """What its address names."""
        return [argument.split(":")[-1] for argument in re.findall(r"<([^>]+)>", self.path)]

    def address(self, arguments: Mapping[str, str]) -> str:
        if unknown := set(self.arguments) - set(arguments):
            pytest.fail(
                f"{self.path} names a {unknown.pop()}: let `tests.architecture.tenants` make one in each organization."
            )
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda argument: arguments[argument[1]], self.path)


def routes(patterns: Any = None, prefix: str = "") -> Iterator[Route]:
    for pattern in patterns or get_resolver().url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        else:
            assert isinstance(pattern, URLPattern)
            yield Route(path, pattern.callback)


OURS = [route for route in routes() if not route.is_of_a_library]
OF_THE_ADMIN = [route for route in routes() if route.is_of_the_admin]
# What asks for a permission in an organization.
GUARDED = [route for route in OURS if isinstance(route.access, Permission)]
