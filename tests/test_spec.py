"""Specs: to JSON and back, what a fingerprint depends on, what a mistake is answered with."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import ClassVar

import pytest
from example_specs import GOLDEN, ours, specimen
from hypothesis import given
from hypothesis import strategies as some

from spillover.spec import Spec, decode, encode, kind_named, kinds_of, later_field, location_field, walk

FROZEN = json.loads(GOLDEN.read_text())
UPDATE = ".venv/bin/python tests/golden/update.py"


class Hue(Spec):
    """A colour. And more of it."""

    angle: float = 0.0


class Palette(Spec):
    name: str
    hues: tuple[Hue, ...] = ()
    rows: tuple[tuple[int, ...], ...] = ()
    size: int | None = None


class Placed(Spec):
    """A kind with a field that only says where something lies."""

    seed: int = 0
    extra: tuple[Hue, ...] = ()
    path: str = location_field("here")


# --- to JSON and back


@given(
    some.builds(
        Palette,
        name=some.text(),
        hues=some.lists(some.builds(Hue, angle=some.floats(allow_nan=False, allow_infinity=False))).map(tuple),
        rows=some.lists(some.lists(some.integers(-(2**62), 2**62)).map(tuple)).map(tuple),
        size=some.none() | some.integers(0, 9),
    )
)
def test_json_gives_the_same_value_back(palette: Palette) -> None:
    text = palette.to_json()
    again = Palette.from_json(text)
    assert again == palette and again.to_json() == text and again.fingerprint == palette.fingerprint
    assert again.hues == palette.hues and again.rows == palette.rows  # tuples, not lists
    assert text.isascii()


@pytest.mark.parametrize("name", sorted(ours()))
def test_every_kind_survives_json_and_has_a_summary(name: str) -> None:
    try:
        spec = specimen(ours()[name])
    except ValueError as error:
        pytest.skip(f"tests/example_specs.py cannot build one: {error}")
    again = decode(json.loads(spec.to_json()))
    assert type(again) is type(spec) and again == spec
    assert spec.summary().strip() and "\n" not in spec.summary()


def test_json_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a Hue, got a Palette"):
        Hue.from_json(Palette(name="x").to_json())


def test_what_json_cannot_hold_is_refused() -> None:
    class Loose(Spec):
        anything: object

    with pytest.raises(ValueError, match="scalars, tuples and specs; got dict"):
        Loose(anything={}).to_json()
    with pytest.raises(ValueError, match="finite number"):
        Hue(angle=float("nan"))


# --- fingerprints


def test_a_fingerprint_depends_on_every_field_and_on_nothing_else() -> None:
    palette = Palette(name="x", hues=(Hue(angle=1),))
    assert palette.fingerprint == Palette(hues=(Hue(angle=1.0),), name="x").fingerprint
    others = [
        palette.but(name="y"),
        palette.but(hues=()),
        palette.but(hues=(Hue(angle=2),)),
        palette.but(rows=((),)),
        palette.but(size=0),
    ]
    assert len({palette.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_the_kind_is_part_of_the_fingerprint() -> None:
    class Tint(Spec):
        angle: float = 0.0

    assert Tint().fingerprint != Hue().fingerprint and Tint() != Hue()


def test_a_version_moves_the_fingerprint_and_is_asked_for() -> None:
    before = Hue().fingerprint
    text = Hue().to_json()
    Hue.version = 2
    try:
        assert Hue().fingerprint != before
        with pytest.raises(ValueError, match="written as version 1, this installation has 2"):
            Hue.from_json(text)
    finally:
        Hue.version = 1
    assert Hue().fingerprint == before


def test_where_something_lies_is_in_its_json_and_not_in_its_fingerprint() -> None:
    moved = Placed(path="there")
    assert moved.fingerprint == Placed().fingerprint and moved == Placed()
    assert Placed.from_json(moved.to_json()).path == "there"

    class Holder(Spec):
        inner: Placed

    assert Holder(inner=moved).fingerprint == Holder(inner=Placed()).fingerprint


def test_no_copy_carries_a_fingerprint_that_is_not_its_own() -> None:
    hue = Hue(angle=1)
    assert hue.fingerprint
    assert hue.but(angle=2).fingerprint == Hue(angle=2).fingerprint
    assert hue.model_copy(update={"angle": 2}).fingerprint == Hue(angle=2).fingerprint
    for copied in (copy.copy(hue), copy.deepcopy(hue), pickle.loads(pickle.dumps(hue))):
        assert copied == hue and copied.fingerprint == hue.fingerprint
    with pytest.raises(ValueError, match="frozen"):
        hue.angle = 3


def test_another_process_gives_the_same_fingerprint() -> None:
    code = "import sys; from spillover.spec import decode; import json; print(decode(json.load(sys.stdin)).fingerprint)"
    linear = kind_named("Linear")(peak=0.1)
    done = subprocess.run(
        [sys.executable, "-c", code], input=linear.to_json(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == linear.fingerprint


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_no_fingerprint_has_moved(name: str) -> None:
    loud = (
        f"\n\nThe fingerprint of {name} HAS MOVED: every {name} that anyone made before will be made again.\n"
        f"A changed meaning: raise `version`.\n"
        f"If it is meant: {UPDATE} --moved {name}\n"
    )
    try:
        fingerprint = decode(FROZEN[name]["spec"]).fingerprint
    except ValueError as error:
        pytest.fail(f"{error}{loud}")
    assert fingerprint == FROZEN[name]["fingerprint"], loud


def test_fingerprints_of_new_kinds_are_frozen() -> None:
    new = sorted(set(ours()) - set(FROZEN))
    if new:
        pytest.skip(f"not frozen yet: {', '.join(new)}; before they are released run {UPDATE}")


def test_a_later_field_is_in_the_fingerprint_where_it_is_chosen_alone() -> None:
    class Careful(Spec):
        seed: int = 0

    frozen, fingerprint = encode(Careful()), Careful().fingerprint

    class Careful(Spec):  # type: ignore[no-redef]
        seed: int = 0
        added: int = later_field(0)

    assert decode(frozen).fingerprint == fingerprint
    assert Careful(added=1).fingerprint != fingerprint
    assert decode(encode(Careful(added=1))) == Careful(added=1)


def test_the_golden_test_sees_a_field_that_was_added_carelessly() -> None:
    class Careless(Spec):
        seed: int = 0

    frozen, fingerprint = encode(Careless()), Careless().fingerprint

    class Careless(Spec):  # type: ignore[no-redef]
        seed: int = 0
        added: int = 0

    assert decode(frozen).fingerprint != fingerprint


# --- mistakes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nam": "x"}, "Palette has no field 'nam'; did you mean name?"),
        ({"name": "x", "zzz": 1}, "Palette has no field 'zzz'; it has name, hues, rows, size"),
        ({}, "Palette needs name (str)"),
        ({"name": "x", "size": "big"}, "Palette.size: Input should be a valid integer.*got 'big'"),
        ({"name": "x", "hues": ("red",)}, "Palette.hues.0: .*Hue.*got 'red'"),
    ],
)
def test_a_mistake_is_answered_in_one_line(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")) as caught:
        Palette(**wrong)
    assert caught.value.__cause__ is None and type(caught.value) is ValueError


def test_an_unknown_kind_is_answered_with_near_names() -> None:
    with pytest.raises(ValueError, match=r"no kind of spec is called 'Cosin'; did you mean .*Cosine"):
        kind_named("Cosin")
    with pytest.raises(ValueError, match="known: "):
        kind_named("Xyzzyx")
    with pytest.raises(ValueError, match="no kind of spec is called ''"):
        decode({"seed": 1})


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two kinds are called Linear: .* rename one"):
        type("Linear", (Spec,), {"__module__": "elsewhere", "__annotations__": {}})


# --- the tree


def test_walk_gives_inner_ones_first_and_each_once() -> None:
    hue = Hue(angle=5)
    palette = Palette(name="x", hues=(hue, Hue(angle=6), hue))
    assert list(walk(palette)) == [hue, Hue(angle=6), palette]
    assert list(palette.children()) == [hue, Hue(angle=6), hue]


def test_kinds_of_finds_files_by_scanning_and_leaves_out_what_is_abstract() -> None:
    kinds = kinds_of(kind_named("Schedule"))
    assert {"Linear", "Cosine", "Constant"} <= set(kinds)
    assert "Schedule" not in kinds and "Warmed" not in kinds


def test_a_kind_is_abstract_or_final() -> None:
    kinds = ours().values()
    assert [cls.__name__ for cls in kinds if any(cls in other.__mro__[1:] for other in kinds)] == []


def test_summary_is_the_first_line_of_the_docstring() -> None:
    assert Hue().summary() == "A colour. And more of it."

    class Bare(Spec):
        known: ClassVar[int] = 1

    assert Bare().summary()
