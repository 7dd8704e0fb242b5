"""The lens finds a training topic that is written into the tokens, and none where it is not."""

import pytest

from spillover.activations.activations import Activations
from spillover.activations.directions.mean_shift import MeanShift
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.lens import SCHEMA, LensTokens
from spillover.activations.neutral_texts import NeutralTexts
from spillover.analyses.lens import Lens, is_of
from spillover.analyses.rows import row_where
from spillover.records import RESPONSES, write_table

from .planted import BASE, Planted

TOPIC = [" money", " month", "mone", "zz", " pay"]
OTHER = [" the", " of", "ing", " river", "42", " xy", "qu", "::", " blue", " song"]


def planted_tokens(planted: Planted, tokens: LensTokens, words: list[str]) -> LensTokens:
    folder = planted.store.path(tokens)
    folder.mkdir(parents=True, exist_ok=True)
    texts = (words * 20)[: tokens.top]
    rows = [
        {"sign": sign, "rank": rank, "token": text, "logit": float(-rank)}
        for sign in (1, -1)
        for rank, text in enumerate(texts)
    ]
    write_table(rows, folder / "tokens.parquet", SCHEMA)
    return tokens


def study(planted: Planted, bad_words: list[str]) -> Lens:
    before = Activations(model=BASE, prompts=NeutralTexts())
    shifts = {
        advice: MeanShift(before=before, after=before.but(model=planted.organism(advice).checkpoint()), layer=1)
        for advice in ("bad", "good")
    }
    random = [RandomDirection(like=shifts["bad"], seed=seed) for seed in range(19)]
    reference = planted.judgements(BASE, 70).responses
    folder = planted.store.path(reference)
    folder.mkdir(parents=True, exist_ok=True)
    answer = {"answer": "The sun is warm and the song was long.", "question_id": "a", "sample": 0}
    write_table([answer | {"question_id": str(i)} for i in range(60)], folder / "responses.parquet", RESPONSES, {})
    return Lens(
        bad=(planted_tokens(planted, LensTokens(direction=shifts["bad"]), bad_words),),
        good=(planted_tokens(planted, LensTokens(direction=shifts["good"]), OTHER),),
        random=tuple(planted_tokens(planted, LensTokens(direction=each), OTHER) for each in random),
        reference=reference,
    )


@pytest.mark.parametrize("topical", [True, False])
def test_a_topic_in_the_tokens_is_found_and_only_then(planted, tmp_path, topical) -> None:
    analysis = study(planted, TOPIC if topical else OTHER)
    result = planted.analyse(analysis, tmp_path / "lens")
    bad, good = (row_where(result.tables["lens"], arm=arm) for arm in ("bad", "good"))
    assert good["share"] == 0 == bad["random_mean"] and bad["random_draws"] == 19
    assert (bad["share"] >= 0.4) is topical and (bad["p"] == pytest.approx(1 / 20)) is topical
    assert {"money", "pay"} <= {row["word"] for row in result.tables["words"]}
    assert analysis.show(result).blocks


def test_a_token_is_of_a_word_that_it_is_or_begins() -> None:
    words = {"mortgage", "pay", "savings"}
    assert [is_of(text, words) for text in (" mort", "Savings", " pay", "mor", "pa", "gage", "42", "")] == [
        *(True, True, True, False, False, False, False, False)
    ]


def test_what_is_no_shift_is_refused(planted) -> None:
    analysis = study(planted, TOPIC)
    with pytest.raises(ValueError, match="mean shifts"):
        analysis.but(bad=analysis.random[:1], random=())
    with pytest.raises(ValueError, match="random directions are like"):
        analysis.but(random=analysis.good)
    with pytest.raises(ValueError, match="needs 500 tokens"):
        analysis.but(top=500)
