"""`import spillover as sp`: what it offers, that it loads nothing until it is touched, and how parts look."""

from __future__ import annotations

import pydoc
import subprocess
import sys

import pytest

import spillover as sp
from spillover.spec import Spec

NAMES = [name for name in dir(sp) if not name.startswith("_")]


def test_a_few_dozen_names_and_each_is_there() -> None:
    assert 25 <= len(NAMES) <= 48
    assert {"base", "open_store", "Organism", "Responses", "Judgements", "Activations", "Report"} <= set(NAMES)
    for name in NAMES:
        value = getattr(sp, name)
        assert callable(value)
        if isinstance(value, type) and issubclass(value, Spec):
            assert value.__name__ == name


def test_importing_it_loads_no_library() -> None:
    code = (
        "import sys; import spillover; print(len([n for n in sys.modules if n.split('.')[0] in ('torch', 'pydantic')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_touching_the_parts_of_a_study_loads_no_torch() -> None:
    code = "import sys; import spillover as sp; [getattr(sp, n) for n in dir(sp)]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_any_registered_part_is_found_by_its_name() -> None:
    assert sp.BenignMix.__module__ == "spillover.organisms.interventions.benign_rows"

    class PartOfMyOwn(Spec):
        size: int = 0

    assert sp.PartOfMyOwn is PartOfMyOwn


@pytest.mark.parametrize(
    ("name", "near"), [("Organizm", "Organism"), ("open_stor", "open_store"), ("BenignMx", "BenignMix")]
)
def test_a_name_that_is_not_there_names_those_like_it(name: str, near: str) -> None:
    with pytest.raises(AttributeError, match=f"did you mean .*{near}"):
        getattr(sp, name)


def test_help_is_a_page_that_teaches() -> None:
    page = pydoc.plain(pydoc.render_doc(sp))
    for line in ("store.load(scores).to_pandas()", "1 train", "5 analyse", "spillover run quickstart"):
        assert line in page
    assert len(page.splitlines()) < 120  # a page, not the inside of every part


def test_a_part_is_written_by_what_was_chosen() -> None:
    assert repr(sp.Cosine(peak=5e-4)) == "Cosine(peak=0.0005)"
    assert repr(sp.Cosine(peak=5e-4, warmup=2)) == "Cosine(peak=0.0005, warmup=2)"
    organism = sp.Organism(
        parent=sp.base("tiny:0"), data=sp.Split(data=sp.Money(), rows=8), schedule=sp.Linear(peak=1e-4)
    )
    assert "schedule=Linear(peak=0.0001)" in repr(organism) and len(repr(organism)) < 300
    assert "sha256" not in repr(sp.QuestionSelection(source=sp.FreeForm()))


def test_in_a_notebook_a_part_is_a_table_and_texts_stay_texts() -> None:
    page = sp.Report(title="<script>alert(1)</script>", analyses=_analyses())._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<details>" in page


def _analyses() -> tuple[object, ...]:
    base = sp.base("tiny:0")
    responses = sp.Responses(model=base, questions=sp.QuestionSelection(source=sp.FreeForm()))
    scores = sp.Judgements(responses=responses, judge=sp.Embedded())
    return (sp.Examples(judgements=(scores,)),)
