"""YAML as people's files hold it, read within bounds: no key twice, nothing that refers to itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

from spillover.row_files.json_values import in_words

LARGEST, DEEPEST = 16_000_000, 50  # characters, levels
MOST = 1_000_000  # values, those that are referred to counted at each place


def yaml_value(text: str) -> object:
    """What a YAML text holds; a ValueError says why it holds nothing that can be believed."""
    import yaml

    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} characters of YAML, {LARGEST:,} are the most that are read")
    try:
        _expect_shallow(text)
        value: object = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        words = in_words(error) if isinstance(error, ValueError) else str(error)
        raise ValueError(" ".join(words.split())[:200]) from None
    _expect_finite(value)
    return value


def _expect_shallow(text: str) -> None:
    """The reader written in C goes as deep as the text does, and further than its stack: so depth is counted first."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")


def _loader() -> type:
    import yaml

    class Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """The safe reader, which lets no key come twice."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := next((key for key, count in Counter(keys).items() if count > 1), None):
                raise ValueError(f"the key {twice!r:.80} comes twice, line {node.start_mark.line + 1}")
            content: dict[object, object] = super().construct_mapping(node, deep)
            return content

    return Strict


def _expect_finite(value: object) -> None:
    """ValueError where a value refers to itself, or to others so often that writing it out would not end."""
    left = MOST

    def visit(part: object, above: frozenset[int]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"over {MOST:,} values, those that are referred to counted at each place")
        if isinstance(part, Mapping | list):
            if id(part) in above:
                raise ValueError("it refers to itself (an alias inside its own anchor)")
            inside = above | {id(part)}
            for item in [*part.keys(), *part.values()] if isinstance(part, Mapping) else part:
                visit(item, inside)

    visit(value, frozenset())
