"""Lines between trained models, on the tiny model for real: barriers, cosines, scores, and what is refused."""

import pytest
from organisms.toy import organism

from spillover.analyses.minima import Minima
from spillover.analyses.rows import row_where
from spillover.organisms.interpolated import Interpolated
from spillover.organisms.losses import HeldOutLosses
from spillover.store import BuildContext

SHARES = (0.0, 0.5, 1.0)


def losses(store, start, end, shares=SHARES):
    made = []
    for share in shares:
        point = Interpolated(start=start, end=end, share=share)
        store.get(point)
        made.append(HeldOutLosses(model=point, data=start.organism.data))
        store.get(made[-1])
    return tuple(made)


def test_a_line_from_a_model_to_itself_is_flat_and_one_to_another_is_measured(store, tmp_path):
    first, second = organism().seeded(0), organism().seeded(1)
    for made in (first, second):
        store.get(made)
    analysis = Minima(
        losses=(
            *losses(store, first.checkpoint(), first.checkpoint()),
            *losses(store, first.checkpoint(), second.checkpoint()),
        ),
        draws=199,
    )
    (tmp_path / "m").mkdir()
    analysis.make(BuildContext(tmp_path / "m", store, lambda share: None))
    result = analysis.read_result(tmp_path / "m")
    same, other = result.tables["barriers"]
    assert same["estimate"] == pytest.approx(0, abs=1e-5) and same["cosine"] == pytest.approx(1)
    assert -1 < other["cosine"] < 0.99 and other["low"] <= other["estimate"] <= other["high"]
    middle = row_where(result.tables["points"], line=other["line"], share=0.5, what="loss")
    assert middle["excess"] == pytest.approx(other["estimate"])
    assert {row["layer"] for row in result.tables["layers"]} == {0, 1}
    assert analysis.show(result).blocks


def test_a_line_without_its_ends_is_refused(store):
    made = organism()
    store.get(made)
    with pytest.raises(ValueError, match="shares 0, 1 and between"):
        Minima(losses=losses(store, made.checkpoint(), made.checkpoint(), (0.0, 0.5)))
    with pytest.raises(ValueError, match="lines between checkpoints"):
        Minima(losses=(HeldOutLosses(model=made.checkpoint(), data=made.data),))
