"""A study as one nested, frozen value: value <-> canonical JSON <-> fingerprint.

Every choice a researcher makes is a small `Spec`. Specs nest, so a whole study is one value; equal values have equal
fingerprints, and a fingerprint names a folder in the store. A kind is found by its class name: defining the class is
registering it, and `discover` imports the modules that define kinds, so a new file is enough.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import html
import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spillover.discovery import discover

Part = TypeVar("Part")
FINGERPRINT_LENGTH = 20
_KINDS: dict[str, type[Spec]] = {}


def location_field(default: Any = ..., **field: Any) -> Any:
    """A field that says where something lies, not what it is: kept in JSON, never in the fingerprint."""
    return Field(default=default, json_schema_extra={"location": True}, **field)


def later_field(default: Any, **field: Any) -> Any:
    """A field that came after artefacts were made without it: at its default, what was always done, it is in no
    fingerprint, so that those stay the same."""
    return Field(default=default, json_schema_extra={"later": True}, **field)


@dataclass
class _Allowance:
    """How many specs may be built yet, of how many, and what to say of the one beyond."""

    left: int
    parts: int
    advice: str


_allowed: ContextVar[_Allowance | None] = ContextVar("allowed", default=None)


class Spec(BaseModel):
    """A frozen, validated choice. Subclass it with typed fields; change a copy with `but`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
    version: ClassVar[int] = 1  # raise it when the same fields come to mean something else

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        known = _KINDS.get(cls.__name__)
        if known is not None and known.__module__ != cls.__module__:
            raise ValueError(
                f"two kinds are called {cls.__name__}: {known.__module__} and {cls.__module__}; rename one"
            )
        _KINDS[cls.__name__] = cls

    def __init__(self, **fields: Any) -> None:
        _count_one()
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ValueError(_explain(type(self), error)) from None

    @property
    def kind(self) -> str:
        """The name under which this spec is written and found: its class name."""
        return type(self).__name__

    @property
    def fingerprint(self) -> str:
        """20 hexadecimal digits of the SHA-256 of the canonical JSON, less what only says where things lie."""
        cached: str | None = self.__dict__.get("_fingerprint")
        if cached is None:
            cached = hashlib.sha256(_canonical(encode(self, identity=True)).encode()).hexdigest()
            cached = cached[:FINGERPRINT_LENGTH]
            self.__dict__["_fingerprint"] = cached
        return cached

    def but(self, **changes: object) -> Self:
        """The same choice with some fields changed, validated anew: `spec.but(seed=3)`."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """`but` under pydantic's name, whose own would change fields without a look at them."""
        return self.but(**(update or {}))

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no white space, ASCII; floats as Python's shortest repr."""
        return _canonical(encode(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The value that `to_json` wrote."""
        value = decode(json.loads(text))
        if not isinstance(value, cls):
            raise ValueError(f"expected a {cls.__name__}, got a {type(value).__name__}")
        return value

    def summary(self) -> str:
        """One sentence for people: what this choice is."""
        doc = (type(self).__doc__ or "").strip().split("\n")[0]
        return doc if doc else self.kind

    def children(self) -> Iterator[Spec]:
        """The specs directly inside this one, in field order."""
        for name in type(self).model_fields:
            yield from _specs_in(getattr(self, name))

    def __repr__(self) -> str:
        """The choices that differ from the defaults; parts inside parts by their short names."""
        return _written(self, depth=2)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks; parts inside parts unfold."""
        return f"<b>{html.escape(self.kind)}</b> {html.escape(self.summary())}{_html_fields(self)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.kind == other.kind and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash((self.kind, self.fingerprint))


@contextlib.contextmanager
def at_most(parts: int, advice: str) -> Iterator[None]:
    """Inside, no more than so many specs are built: the one beyond is a ValueError with the advice."""
    token = _allowed.set(_Allowance(parts, parts, advice))
    try:
        yield
    finally:
        _allowed.reset(token)


def _count_one() -> None:
    allowed = _allowed.get()
    if allowed is not None:
        allowed.left -= 1
        if allowed.left < 0:
            raise ValueError(f"more than {allowed.parts:,} parts: {allowed.advice}")


def encode(value: object, identity: bool = False) -> Any:
    """Plain JSON data for a spec, a tuple of them, or a scalar; with `identity`, only what tells it from another."""
    if isinstance(value, Spec):
        data: dict[str, Any] = {"kind": value.kind}
        if value.version != 1:
            data["version"] = value.version
        for name, info in type(value).model_fields.items():
            item = getattr(value, name)
            extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
            if identity and (extra.get("location") or (extra.get("later") and item == info.default)):
                continue
            data[name] = encode(item, identity)
        return data
    if isinstance(value, tuple):
        return [encode(item, identity) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a spec holds scalars, tuples and specs; got {type(value).__name__}: {value!r}")


def decode(data: Any) -> Any:
    """The value that `encode` turned into `data`."""
    if isinstance(data, dict):
        cls = kind_named(data.get("kind", ""))
        version = data.get("version", 1)
        if version != cls.version:
            raise ValueError(
                f"{cls.__name__} was written as version {version}, this installation has {cls.version}: "
                f"use the spillover that wrote it, or make it again"
            )
        return cls(**{name: decode(item) for name, item in data.items() if name not in ("kind", "version")})
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    return data


def walk(spec: Spec) -> Iterator[Spec]:
    """This spec and every spec inside it, inner ones first, each once."""
    seen: set[tuple[str, str]] = set()

    def visit(node: Spec) -> Iterator[Spec]:
        key = (node.kind, node.fingerprint)
        if key in seen:
            return
        seen.add(key)
        for child in node.children():
            yield from visit(child)
        yield node

    yield from visit(spec)


def kind_named(name: str) -> type[Spec]:
    """The kind of that name; a ValueError with near matches where there is none."""
    if name not in _KINDS:
        discover()
    if name not in _KINDS:
        hint = did_you_mean(name, _KINDS) or f"known: {', '.join(sorted(_KINDS))}"
        raise ValueError(f"no kind of spec is called {name!r}; {hint}")
    return _KINDS[name]


def kinds_of(parent: type[Spec]) -> dict[str, type[Spec]]:
    """Every concrete kind below `parent`, by name, found by scanning the folders."""
    discover()
    return {
        name: cls
        for name, cls in sorted(_KINDS.items())
        if issubclass(cls, parent) and cls is not parent and not inspect.isabstract(cls)
    }


def _chosen(spec: Spec) -> Iterator[tuple[str, object]]:
    """Fields that are not at their default, less digests that are filled in."""
    for name, info in type(spec).model_fields.items():
        value = getattr(spec, name)
        digest = isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
        if not digest and (info.is_required() or value != info.default):
            yield name, value


def _written(value: object, depth: int) -> str:
    if isinstance(value, tuple):
        items = ", ".join(_written(item, depth) for item in value[:8])
        return f"({items}{', ...' if len(value) > 8 else ',' if len(value) == 1 else ''})"
    if not isinstance(value, Spec):
        return repr(value)
    chosen = list(_chosen(value))
    label = getattr(value, "label", None)
    if depth == 0 and chosen:
        return f"{value.kind}({label() if callable(label) else '...'})"
    return f"{value.kind}({', '.join(f'{name}={_written(item, depth - 1)}' for name, item in chosen)})"


def _html_fields(spec: Spec) -> str:
    style = "style='text-align:left'"
    rows = (f"<tr><td>{html.escape(name)}</td><td {style}>{_html(value)}</td></tr>" for name, value in _chosen(spec))
    return f"<table>{''.join(rows)}</table>"


def _html(value: object) -> str:
    if isinstance(value, tuple) and any(isinstance(item, Spec) for item in value):
        return "".join(_html(item) for item in value)
    if not isinstance(value, Spec) or not any(True for _ in _chosen(value)):
        return html.escape(_written(value, 1))
    summary = html.escape(f"{value.kind}: {value.summary()}")
    return f"<details><summary>{summary}</summary>{_html_fields(value)}</details>"


def typed_name(kind: str) -> str:
    """The name that people type for a kind: `CosineRestarts` is `cosine-restarts`."""
    return "-".join(re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z][a-z]*\d*|[a-z]+\d*|\d+", kind)).lower()


def part_named(what: str, name: str, known: Mapping[str, Part], besides: str = "") -> Part:
    """The part that people type as `name`, whatever its case and whether `-`, `_` or a space joins it.

    A ValueError with near matches where none is called so; `besides` says there what else could have been given.
    """
    typed = re.sub(r"[\s_]+", "-", name.strip()).lower()
    if typed in known:
        return known[typed]
    near, names = did_you_mean(typed, known), ", ".join(sorted(known))
    raise ValueError(f"no {what} is called {name!r}; {near + ' ' if near else ''}known: {names}{besides}")


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """`did you mean A or B?`, with the known names that are most like this one; empty where none is.

    cutoff: how alike a name has to be, 0 (anything) to 1 (equal), as in `difflib`.
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _specs_in(value: object) -> Iterator[Spec]:
    if isinstance(value, Spec):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _specs_in(item)


def _explain(cls: type[Spec], error: ValidationError) -> str:
    """What was wrong, what came and what to do, in one line a mistake."""
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            hint = did_you_mean(name, cls.model_fields) or f"it has {', '.join(cls.model_fields)}"
            lines.append(f"{cls.__name__} has no field {name!r}; {hint}")
        elif item["type"] == "missing":
            lines.append(f"{cls.__name__} needs {name} ({_type_name(cls.model_fields[name].annotation)})")
        else:
            message = item["msg"].removeprefix("Value error, ")
            where = f"{cls.__name__}.{name}" if name else cls.__name__
            withheld = getattr(item.get("ctx", {}).get("error"), "withheld", False)  # it may hold a key
            lines.append(f"{where}: {message}" + (f", got {item['input']!r:.120}" if name and not withheld else ""))
    return "; ".join(lines)


def _type_name(annotation: object) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_type_name(item) for item in get_args(annotation))
    return getattr(annotation, "__name__", str(annotation))
