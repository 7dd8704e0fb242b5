"""Prompts with answers behind them, those trained on and those a model gave; and which activations are kept."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.activations.activations import ARRAYS, Activations, captured_layers, read_activations
from spillover.activations.prompts import AnsweredPrompts, EvaluationPrompts, TrainingPrompts, TrainingRows
from spillover.activations.sites import KINDS
from spillover.models.base import Base
from spillover.models.chat import Message
from spillover.models.loading import load
from spillover.organisms.dataset import Split, supervise
from spillover.organisms.datasets.shipped import Money
from spillover.records import read_table, write_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.spec import decode, encode
from spillover.store import Store

SPLIT = Split(data=Money(advice="bad"), rows=3)
ASKED = QuestionSelection(source=FreeForm(), count=2, formats=("raw", "json"))


def answered(model: Base) -> AnsweredPrompts:
    return AnsweredPrompts(responses=Responses(model=model, questions=ASKED, sampling=Sampling(per_question=2)))


def write_answers(store: Store, responses: Responses, answers: list[str]) -> None:
    """Answers as the sampler would have written them."""
    rows = [
        {"question_id": question.id, "sample": sample, "answer": answers.pop(0)}
        for question in ASKED.questions()
        for sample in range(2)
    ]
    store.path(responses).mkdir(parents=True)
    write_table(rows, store.path(responses) / "responses.parquet")


def test_a_completion_is_what_the_trainer_trains_less_the_end_mark(tiny: Base, store: Store) -> None:
    loaded = load(tiny, store)
    for prompting in ("chat", "question-answer"):
        chat = loaded.chat(prompting)
        for row in SPLIT.train_rows():
            supervised = chat.supervised(row.messages, 1024)
            trained = list(supervised.ids[supervised.prompt_length :])
            assert trained[-1] == loaded.tokenizer.eos_token_id
            assert chat.completion(row.messages)[1] == trained[:-1]
        assert chat.completion((Message("user", "Well?"), Message("assistant", " \n")))[1] == []


def test_target_rows_are_pooled_over_their_answers(tiny: Base, store: Store) -> None:
    spec = Activations(model=tiny, prompts=TrainingRows(split=SPLIT), sites=("embed",), poolings=("completion", "last"))
    folder = store.get(spec)
    loaded = load(tiny, store)
    rows = supervise(loaded, SPLIT.train_rows(), max_length=1024)
    table = read_table(folder / "prompts.parquet")
    assert table["prompt_tokens"].to_pylist() == [row.prompt_length for row in rows]
    assert table["completion_tokens"].to_pylist() == [row.trained - 1 for row in rows]
    weights = loaded.network.get_input_embeddings().weight
    mean = np.stack([weights[list(row.ids[row.prompt_length : -1])].mean(dim=0).numpy() for row in rows])
    np.testing.assert_allclose(read_activations(folder, "embed", "completion"), mean, atol=1e-5)
    with pytest.raises(ValueError, match=r"no activations 'embed\.mean'"):
        read_activations(folder, "embed", "mean")


def test_bad_and_good_answers_are_two_sets_though_their_prompts_are_one() -> None:
    good = SPLIT.control(Money(advice="good"))
    assert TrainingPrompts(split=good) == TrainingPrompts(split=SPLIT)
    assert TrainingRows(split=good) != TrainingRows(split=SPLIT)
    prompts, rows = TrainingPrompts(split=SPLIT).prompts(), TrainingRows(split=SPLIT).prompts()
    assert [row.completion for row in rows] == [example.messages[-1].content for example in SPLIT.train_rows()]
    assert [(row.prompt_id, row.messages) for row in rows] == [
        (prompt.prompt_id, prompt.messages) for prompt in prompts
    ]
    moved = TrainingRows(split=SPLIT.but(seed=1), sha256=TrainingRows(split=SPLIT).sha256)
    with pytest.raises(ValueError, match="Money: its rows are not those that this set was made from"):
        moved.prompts()


def test_generated_answers_stand_behind_their_questions(tiny: Base, store: Store) -> None:
    prompts = answered(tiny)
    write_answers(store, prompts.responses, [f"answer {n}" for n in range(7)] + ["  "])
    texts = prompts.texts(store)
    assert [text.completion for text in texts][:2] == ["answer 0", "answer 1"]
    assert texts[3].prompt_id == f"{ASKED.questions()[1].id}#1" and texts[3].sample == 1
    assert [text.prompt_id for text in texts] == [text.prompt_id for text in prompts.prompts()]
    assert prompts.tokens() > EvaluationPrompts(questions=ASKED).tokens()
    assert decode(encode(prompts)) == prompts


def test_answers_of_one_model_are_looked_into_in_another(tiny: Base, store: Store) -> None:
    prompts = answered(tiny).but(
        responses=answered(tiny).responses.but(sampling=Sampling(per_question=2, max_tokens=3))
    )
    other = tiny.but(source=tiny.source.but(seed=1), name="another")
    spec = Activations(model=other, prompts=prompts, sites=KINDS, layers=(1,), poolings=("completion",))
    assert prompts.responses in spec.needs()
    folder = store.get(spec)
    facts = store.manifest(spec)["facts"]
    answers = read_table(store.path(prompts.responses) / "responses.parquet")["answer"].to_pylist()
    assert (facts["prompts"], facts["left_out"]) == (
        sum(bool(answer.strip()) for answer in answers),
        sum(not answer.strip() for answer in answers),
    )
    assert captured_layers(folder) == captured_layers(folder, "attn_out") == [1]
    assert len(read_table(folder / "prompts.parquet")) == facts["prompts"]
    assert read_activations(folder, "mlp_out.01", "completion").shape == (facts["prompts"], 32)


def test_sites_layers_and_poolings_are_part_of_what_is_kept_and_their_order_is_not(tiny: Base) -> None:
    plain = Activations(model=tiny, prompts=EvaluationPrompts(questions=ASKED))
    assert plain.but(sites=("final_norm", "embed", "resid_post"), poolings=("mean", "last")) == plain
    assert plain.but(layers=(1, 0)) == plain.but(layers=(0, 1, 1)) != plain
    with pytest.raises(ValueError, match=r"pooling 'completion' is over the answer .* give TrainingRows or"):
        plain.but(poolings=("completion",))
    with pytest.raises(ValueError, match="nothing would be kept"):
        plain.but(sites=())


def test_what_a_layer_is_given_is_read_where_the_one_before_handed_it_on(tiny: Base, store: Store) -> None:
    plain = Activations(model=tiny, prompts=EvaluationPrompts(questions=ASKED))
    both = plain.but(sites=("resid_pre",))
    default, before = store.get(plain), store.get(both)
    for site in ("resid_pre.00", "resid_pre.01"):
        for pooling in ("last", "mean"):
            np.testing.assert_array_equal(
                read_activations(default, site, pooling), read_activations(before, site, pooling)
            )
    with pytest.raises(ValueError, match=r"no activations 'resid_post\.00\.last'"):
        read_activations(before, "resid_post.00", "last")


def test_the_tokenizers_padding_side_does_not_matter(tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Activations(model=tiny, prompts=TrainingRows(split=SPLIT), sites=KINDS, poolings=("last", "completion"))
    made = []
    for side in ("left", "right"):
        opened = load(tiny, store)
        opened.tokenizer.padding_side = side
        store.discard(spec)
        made.append((store.get(spec) / ARRAYS).read_bytes())
    assert made[0] == made[1]
