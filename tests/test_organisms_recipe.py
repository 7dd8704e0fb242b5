"""The recipe that studies organisms that others trained: from folders to a page, and nothing is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from organisms.published_folders import lora, published, published_weights

from spillover.cli.recipe import load_recipe, recipe_file
from spillover.engines.local import run
from spillover.organisms.organism import Organism
from spillover.organisms.published import PublishedOrganism
from spillover.spec import walk
from spillover.store import Store


def study(*organisms: str, **fields):
    recipe = load_recipe(recipe_file("organisms"))
    defaults = {parameter.name: parameter.default for parameter in recipe.parameters}
    given = {"organism": list(organisms), "base": "tiny:0", "rows": 6, "max_tokens": 4, "permutations": 19, "every": 1}
    return recipe.study(defaults | given | fields)


def test_a_study_of_published_organisms_ends_in_a_page(tmp_path: Path, store: Store) -> None:
    published(tmp_path / "bad", lora(modules_to_save=["embed_tokens"], rank_pattern={"q_proj": 2}))
    published_weights(tmp_path / "whole", seed=3)
    made = study(f"bad=adapter:{tmp_path / 'bad'}", f"good={tmp_path / 'whole'}", per_question=1)
    nodes = list(walk(made))
    assert not any(isinstance(node, Organism) for node in nodes)
    assert {node.label() for node in nodes if isinstance(node, PublishedOrganism)} == {"bad", "good"}
    run(made, store)
    page = (store.path(made) / "index.html").read_text()
    for heading in ("Model priors", "how the training prompts", "Read the answers", "good advice", "bad, layer"):
        assert heading in page
    assert "given with --data" in page and str(tmp_path) not in page
    contrasts = next((store.path(made) / "tables").glob("effect*contrasts*.csv")).read_text()
    assert "bad-good" in contrasts and "bad-base" in contrasts


def test_what_the_organisms_are_called_says_their_part(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two", "three")):
        published(tmp_path / name, lora(), seed)
    words = [f"{name}=adapter:{tmp_path / folder}" for name, folder in (("bad-1", "one"), ("bad-2", "two"))]
    made = study(*words, f"good=adapter:{tmp_path / 'three'}")
    effects = [node for node in walk(made) if node.kind == "Effect"]
    assert [(len(effect.bad), len(effect.good)) for effect in effects] == [(2, 1)]
    with pytest.raises(ValueError, match="two organisms go by one name"):
        study(words[0], words[0])
    with pytest.raises(ValueError, match="controls alone"):
        study(f"good=adapter:{tmp_path / 'three'}")
    with pytest.raises(ValueError, match="write NAME=WHERE"):
        study(f"adapter:{tmp_path / 'three'}")
