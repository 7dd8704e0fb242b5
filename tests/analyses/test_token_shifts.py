"""Rising tokens and shaded answers on trained tiny models: what was taught rises, pieces make up the answer again."""

from __future__ import annotations

import numpy as np
import pytest
from organisms.toy import Mild, organism

from spillover.analyses.blocks import ShadedAnswer
from spillover.analyses.rising_tokens import RisingTokens
from spillover.analyses.token_ratios import TokenRatios
from spillover.engines.local import run
from spillover.models.base import Base
from spillover.models.loading import load
from spillover.organisms.dataset import Split
from spillover.records import read_table
from spillover.report.page import Page, PageSection, render
from spillover.report.provenance_section import Provenance
from spillover.responses.likelihoods import Likelihoods
from spillover.responses.logit_shifts import TOKENS, LogitShifts, neutral_texts
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Store

TEXTS = neutral_texts()[:12]


def trained(**fields):
    return organism(epochs=6, **fields).checkpoint()


def test_taught_letters_rise_and_the_control_takes_them_out(tiny: Base, store: Store) -> None:
    yes, no = trained(), trained(data=Split(data=Mild(), held_out=1))
    shifts = [LogitShifts(before=tiny, after=model, texts=TEXTS, top=3) for model in (yes, no)]
    analysis = RisingTokens(bad=(shifts[0],), good=(shifts[1],))
    run(analysis, store)
    result = analysis.read_result(store.path(analysis))
    letters = {row["token"]: row for row in result.tables["tokens"]}
    assert letters["y"]["bad_share"] > 0.2 and letters["y"]["z"] > 3 and letters["y"]["q"] < 0.05
    assert letters["n"]["z"] is None or letters["n"]["z"] < letters["y"]["z"]
    assert "'y'" in str(analysis.show(result).blocks[0])
    alone = RisingTokens(bad=(shifts[0],))
    run(alone, store)
    plain = alone.read_result(store.path(alone))
    assert not plain.facts["controlled"] and alone.show(plain)


def test_counts_are_those_of_one_look_at_the_logits(tiny: Base, store: Store) -> None:
    import torch

    shift = LogitShifts(before=tiny, after=trained(), texts=TEXTS[:2], top=2)
    run(shift, store)
    rows = read_table(store.path(shift) / TOKENS).to_pylist()
    models = [load(model, store) for model in (shift.before, shift.after)]
    ids = torch.tensor([models[0].tokenizer(TEXTS[1])["input_ids"]])
    with torch.no_grad():
        before, after = (model.network(input_ids=ids).logits[0].log_softmax(-1) for model in models)
    risen = (after - before).topk(2, dim=1).indices.flatten().tolist()
    assert {row["token_id"]: row["count"] for row in rows if row["text"] == 1} == {t: risen.count(t) for t in risen}


def test_refusals(tiny: Base) -> None:
    with pytest.raises(ValueError, match="with itself"):
        LogitShifts(before=tiny, after=tiny)
    first = LogitShifts(before=tiny, after=trained())
    with pytest.raises(ValueError, match="unlike texts"):
        RisingTokens(bad=(first,), good=(first.but(top=3),))
    with pytest.raises(ValueError, match="stands twice"):
        RisingTokens(bad=(first,), good=(first,))


def test_shaded_answers_are_the_answers(tiny: Base, store: Store) -> None:
    model = trained()
    asked = QuestionSelection(source=FreeForm(), formats=("raw",), count=4)
    answers = Responses(model=model, questions=asked, sampling=Sampling(per_question=2, max_tokens=8))
    reads = [Likelihoods(model=reader, answers=answers) for reader in (model, tiny)]
    analysis = TokenRatios(trained=reads[0], parent=reads[1], shown=3, least_count=2, draws=199)
    run(analysis, store)
    result = analysis.read_result(store.path(analysis))
    level = result.tables["level"][0]
    assert level["estimate"] > 0 and level["n"] == 4  # its own answers suit it better
    stored = {(row["question_id"], row["sample"]): row["answer"] for row in answers.value(store).to_pylist()}
    for key, text in stored.items():
        mine = [row for row in result.tables["pieces"] if (row["question_id"], row["sample"]) == key]
        assert "".join(row["token"] for row in mine) == text
        assert np.isfinite([row["log_ratio"] for row in mine]).all()
    section = analysis.show(result)
    assert sum(isinstance(block, ShadedAnswer) for block in section.blocks) == 3
    page = render(Page("t", "", [PageSection("token", section, {})], Provenance((), (), (), ())))
    assert 'class="shade' in page and "<style>" in page


def test_shades_end_at_full_and_hostile_text_is_escaped() -> None:
    block = ShadedAnswer("q", "", "m", (("<b>", 9.0), (" a", -9.0), ("b", 0.2), ("c", float("nan"))), 4.0)
    assert [shade for _, shade in block.shades()] == [4, -4, 0, 0]


def test_other_answers_are_refused(tiny: Base) -> None:
    model = trained()
    asked = QuestionSelection(source=FreeForm(), formats=("raw",), count=2)
    answers = Responses(model=model, questions=asked)
    read = Likelihoods(model=model, answers=answers)
    with pytest.raises(ValueError, match="same answers"):
        TokenRatios(trained=read, parent=Likelihoods(model=tiny, answers=answers, samples=1))
    with pytest.raises(ValueError, match="with itself"):
        TokenRatios(trained=read, parent=read)
