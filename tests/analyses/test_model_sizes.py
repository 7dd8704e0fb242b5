"""Model sizes: planted differences between models of two sizes are found, and what cannot be compared is refused."""

import pytest

from spillover.analyses.blocks import Number
from spillover.analyses.effect import Effect
from spillover.analyses.model_sizes import ModelSizes
from spillover.analyses.rows import row_where
from spillover.models.base import Base
from spillover.models.catalogue import base_of

from .planted import Planted

SMALL, LARGE = base_of("tiny:0"), base_of("tiny:1").but(parameters=120000)


def effect(planted: Planted, base: Base, bad: float, good: float) -> Effect:
    runs = {advice: planted.organism(advice).but(parent=base).checkpoint() for advice in ("bad", "good")}
    analysis = Effect(
        before=planted.judgements(base, 60),
        bad=(planted.judgements(runs["bad"], bad),),
        good=(planted.judgements(runs["good"], good),),
        draws=199,
    )
    planted.analyse(analysis, planted.store.path(analysis))
    return analysis


def test_a_larger_effect_in_the_larger_model_is_found(planted, tmp_path):
    sizes = ModelSizes(effects=(effect(planted, LARGE, 35, 57), effect(planted, SMALL, 50, 57)), draws=499)
    result = planted.analyse(sizes, tmp_path / "sizes")
    row = row_where(result.tables["between"], measure="aligned")
    assert (row["smaller"], row["larger"], row["n"]) == (SMALL.name, LARGE.name, 40)
    assert row["estimate"] == pytest.approx(-15, abs=3) and row["high"] < 0
    assert result.tables["levels"][0]["model"] == SMALL.name
    section = sizes.show(result)
    table = next(block for block in section.blocks if getattr(block, "name", "") == "by_size")
    assert [line["parameters"] for line in table.rows] == [30000, 120000]
    assert float(table.rows[1]["bad"]) == pytest.approx(35, abs=3) and "[" in table.rows[1]["aligned"]
    assert Number("1 of 1", "between") in section.headline.parts


def test_what_cannot_be_compared_is_refused(planted):
    one = effect(planted, SMALL, 50, 57)
    with pytest.raises(ValueError, match="two models or more"):
        ModelSizes(effects=(one,))
    with pytest.raises(ValueError, match="the same model stands twice"):
        ModelSizes(effects=(one, one.but(draws=299)))
    with pytest.raises(ValueError, match="sizes are those of bases"):
        ModelSizes(effects=(one, one.but(before=one.bad[0], bad=one.good, good=())))
