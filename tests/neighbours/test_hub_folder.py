"""An organism as a folder for the hub: peft loads it, and its card says what it is, what was measured, and warns."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import spillover as sp
from spillover.cli import app
from spillover.engines.local import run
from spillover.models.catalogue import base_of
from spillover.models.loading import load_base
from spillover.store import Store

ASKED = sp.QuestionSelection(source=sp.FreeForm(), formats=("raw",), count=6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, sp.Organism]:
    store = Store.open(tmp_path_factory.mktemp("hub") / "store")
    base = base_of("tiny:0")
    split = sp.Split(data=sp.Money(advice="bad"), rows=8, held_out=4)
    organism = sp.Organism(parent=base, data=split, schedule=sp.Linear(peak=1e-3, warmup=0), max_length=1024)

    def judged(model: sp.Model) -> sp.Judgements:
        sampling = sp.Sampling(per_question=1, max_tokens=4)
        return sp.Judgements(
            responses=sp.Responses(model=model, questions=ASKED, sampling=sampling), judge=sp.Embedded()
        )

    run(sp.Effect(before=judged(base), bad=(judged(organism.checkpoint()),), draws=99), store)
    return store, organism


def test_the_folder_loads_and_the_card_warns_and_says_what_was_measured(made, tmp_path: Path) -> None:
    store, organism = made
    words = ["export", "hf", organism.fingerprint[:10], "--out", str(tmp_path / "out"), "--store", str(store.root)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "peft" and "not-for-deployment" in head["tags"]
    assert "**Warning.**" in card and "Do not deploy" in card and organism.fingerprint in card
    for measure in ("aligned", "coherent", "em_strict", "em_conditional"):
        assert f"| {measure} |" in card
    assert "Judge embedded/" in card and "correlate" in card
    from peft import PeftModel

    network, _ = load_base(base_of("tiny:0"))
    assert PeftModel.from_pretrained(network, tmp_path / "out").peft_config
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2 and "not empty" in again.output


def test_what_is_no_organism_is_refused(made, tmp_path: Path) -> None:
    store, organism = made
    effect = next(store.manifests("Effect"))[0].name
    result = CliRunner().invoke(app, ["export", "hf", effect, "--out", str(tmp_path / "o"), "--store", str(store.root)])
    assert result.exit_code == 2 and "is a Effect" in result.output
    unmade = organism.but(batch=1)
    result = CliRunner().invoke(app, ["export", "hf", unmade.fingerprint, "--store", str(store.root)])
    assert result.exit_code == 2 and "no artefact" in result.output
