"""What Stripe accepts and answers, derived from the typed sources of the installed SDK.

The SDK is generated from Stripe's own description of its API. Each operation is read, by its syntax tree, when it is
first used; nothing of the SDK is run for it.
"""

import ast
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stripe._object_classes import OBJECT_CLASSES

SDK = Path(str(find_spec("stripe").submodule_search_locations[0]))  # type: ignore[union-attr,index]

SCALARS = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "Decimal": "decimal"}


@dataclass(frozen=True)
class Scalar:
    name: str


@dataclass(frozen=True)
class Enum:
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Array:
    of: "Kind"


@dataclass(frozen=True)
class Page:
    """A list object, with its items under `data`."""

    of: "Kind"


@dataclass(frozen=True)
class Mapping:
    of: "Kind"


@dataclass(frozen=True)
class Choice:
    options: tuple["Kind", ...]


@dataclass(frozen=True)
class Record:
    """A class of the SDK: its module, and its name, dotted where it is nested."""

    module: str
    name: str


@dataclass(frozen=True)
class Anything:
    pass


Kind = Scalar | Enum | Array | Page | Mapping | Choice | Record | Anything
NULL = Scalar("null")


@dataclass(frozen=True)
class Field:
    kind: Kind
    required: bool


@dataclass(frozen=True)
class Operation:
    params: Record | None
    answer: Kind


@cache
def operation(method: str, path: str) -> Operation | None:
    """Return the operation of a path as Stripe writes it, such as `/v1/customers/{customer}`."""
    for file, text in _services():
        if f'"{path}"' not in text:
            continue
        scope = _module(_dotted(file))
        for function in ast.walk(scope.tree):
            if isinstance(function, ast.FunctionDef) and _called(function) == (method, path):
                return Operation(_params(function, scope), _answer(function, scope))
    return None


def exists(method: str, path: str) -> bool:
    """Say whether Stripe has such an operation, for a path with its ids in it."""
    parts = path.strip("/").split("/")
    return any(
        method == known
        and len(template) == len(parts)
        and all(one.startswith("{") or one == other for one, other in zip(template, parts, strict=True))
        for known, template in _all_operations()
    )


@cache
def fields(record: Record) -> dict[str, Field]:
    """Return what a class of the SDK declares."""
    scope = _module(record.module)
    declared: dict[str, Field] = {}
    node = scope.named(record.name)
    for base in node.bases:
        if ast.unparse(base) == "Event":  # each type of thin event adds its data to what all have
            declared |= fields(resource("v2.core.event"))
        functional = scope.typed_dicts.get(ast.unparse(base))
        if functional:
            for name, annotation in functional.items():
                declared[name] = _field(annotation, scope, record.name)
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" not in ast.unparse(statement.annotation) and not statement.target.id.startswith("_"):
            declared[statement.target.id] = _field(statement.annotation, scope, record.name)
    return declared


@cache
def resource(kind: str) -> Record:
    """Return the class of objects of a kind, such as `checkout.session`."""
    module, name = OBJECT_CLASSES[kind] if kind in OBJECT_CLASSES else _v2_class(kind)
    return Record(module, name)


def thin_event(kind: str) -> Record:
    """Return the class of thin events of a type, such as `v1.billing.meter.error_report_triggered`."""
    parts = kind.replace(".", "_").split("_")
    return Record(
        f"stripe.events._{'_'.join(parts)}_event", f"{''.join(part.title() for part in parts)}Event"
    )


@cache
def nullable(kind: str) -> tuple[str, ...]:
    """Return the fields that Stripe always shows on a kind of object, as null where they have no value."""
    return tuple(
        name
        for name, field in fields(resource(kind)).items()
        if not field.required
        and not any(isinstance(option, Page) for option in _options(field.kind))
        and name not in {"deleted", "secret", "confirmation_secret", "currency_options", "tiers", "custom"}
    )


# Reading the sources


class _Scope:
    """A module of the SDK: its classes, and where the names in it come from."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted
        path = SDK.parent / (dotted.replace(".", "/") + ".py")
        if not path.exists():
            path = SDK.parent / dotted.replace(".", "/") / "__init__.py"
        self.tree = ast.parse(path.read_text())
        self.imported: dict[str, tuple[str, str]] = {}
        self.typed_dicts: dict[str, dict[str, ast.expr]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in node.names:
                    self.imported[name.asname or name.name] = (node.module, name.name)
        for node in self.tree.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and isinstance(node.value, ast.Call)
                and ast.unparse(node.value.func) == "TypedDict"
                and isinstance(node.value.args[1], ast.Dict)
            ):
                entries = node.value.args[1]
                self.typed_dicts[node.targets[0].id] = {
                    ast.literal_eval(key): value
                    for key, value in zip(entries.keys, entries.values, strict=True)
                    if key is not None
                }

    def find(self, name: str) -> ast.ClassDef | None:
        body: list[ast.stmt] = self.tree.body
        found = None
        for part in name.split("."):
            found = next((n for n in body if isinstance(n, ast.ClassDef) and n.name == part), None)
            if found is None:
                return None
            body = found.body
        return found

    def named(self, name: str) -> ast.ClassDef:
        found = self.find(name)
        if found is None:
            raise LookupError(f"{self.dotted} has no class {name}")
        return found


@cache
def _module(dotted: str) -> _Scope:
    return _Scope(dotted)


@cache
def _services() -> tuple[tuple[Path, str], ...]:
    return tuple((file, file.read_text()) for file in sorted(SDK.rglob("_*service.py")))


@cache
def _all_operations() -> frozenset[tuple[str, tuple[str, ...]]]:
    found = set()
    for _, text in _services():
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef) and (called := _called(function)):
                found.add((called[0], tuple(called[1].strip("/").split("/"))))
    return frozenset(found)


def _v2_class(kind: str) -> tuple[str, str]:
    *folders, name = kind.split(".")
    return f"stripe.{'.'.join(folders)}._{name}", "".join(part.title() for part in name.split("_"))


def _dotted(file: Path) -> str:
    return ".".join(file.relative_to(SDK.parent).with_suffix("").parts)


def _called(function: ast.FunctionDef) -> tuple[str, str] | None:
    """Return the method and path of the request that a method of a service makes."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "self._request":
            continue
        method, path = node.args[0], node.args[1]
        if isinstance(path, ast.Call) and isinstance(path.func, ast.Attribute):  # "…{id}…".format(id=…)
            path = path.func.value
        if isinstance(method, ast.Constant) and isinstance(path, ast.Constant):
            return str(method.value).upper(), str(path.value)
    return None


def _params(function: ast.FunctionDef, scope: _Scope) -> Record | None:
    for argument in function.args.args:
        if argument.arg == "params" and argument.annotation is not None:
            kind = _kind(argument.annotation, scope, "")
            return next((option for option in _options(kind) if isinstance(option, Record)), None)
    return None


def _answer(function: ast.FunctionDef, scope: _Scope) -> Kind:
    return _kind(function.returns, scope, "") if function.returns else Anything()


def _field(annotation: ast.expr, scope: _Scope, owner: str) -> Field:
    text = ast.unparse(annotation)
    required = not text.startswith(("NotRequired", "Optional"))
    return Field(_kind(annotation, scope, owner), required)


def _options(kind: Kind) -> tuple[Kind, ...]:
    return kind.options if isinstance(kind, Choice) else (kind,)


def _kind(node: ast.expr, scope: _Scope, owner: str) -> Kind:
    match node:
        case ast.Constant(value=None):
            return NULL
        case ast.Constant(value=str(text)):
            return _kind(ast.parse(text, mode="eval").body, scope, owner)
        case ast.Name(id=name):
            return Scalar(SCALARS[name]) if name in SCALARS else _record(name, scope, owner)
        case ast.BinOp(left=left, right=right):
            return _choice([_kind(left, scope, owner), _kind(right, scope, owner)])
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            return _generic(name, inner, scope, owner)
    return Anything()


def _generic(name: str, inner: ast.expr, scope: _Scope, owner: str) -> Kind:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return Enum(tuple(ast.literal_eval(part) for part in parts))
    of = [_kind(part, scope, owner) for part in parts]
    match name:
        case "NotRequired" | "Required":
            return of[0]
        case "Optional":
            return _choice([*of, NULL])
        case "Union":
            return _choice(of)
        case "ExpandableField":
            return _choice([Scalar("string"), *of])
        case "List" | "Sequence":
            return Array(of[0])
        case "Dict":
            return Mapping(of[1])
        case "UntypedStripeObject":
            return Mapping(of[0])
        case "ListObject" | "SearchResultObject":
            return Page(of[0])
    return Anything()


def _record(name: str, scope: _Scope, owner: str) -> Kind:
    path = owner.split(".") if owner else []
    while path:  # a nested class is known by its short name inside of the one that holds it
        dotted = ".".join([*path, name])
        if scope.find(dotted):
            return Record(scope.dotted, dotted)
        path.pop()
    if scope.find(name):
        return Record(scope.dotted, name)
    if name in scope.imported:
        module, original = scope.imported[name]
        if module.startswith("stripe") and original not in {"StripeObject", "UntypedStripeObject"}:
            return Record(module, original)
    return Anything()


def _choice(kinds: list[Kind]) -> Kind:
    """Join alternatives. The SDK widens each enum by `str`, for values yet to come: that is dropped."""
    options: list[Kind] = []
    for kind in kinds:
        options.extend(option for option in _options(kind) if option not in options)
    if any(isinstance(option, Enum) and option.values != ("",) for option in options):
        options = [option for option in options if option != Scalar("string")]
    return options[0] if len(options) == 1 else Choice(tuple(options))
