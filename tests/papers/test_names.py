"""Names of the release: what they say becomes fields, once; a name that says too little is told what would do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillover.papers.em_generalization.names import (
    SCHEDULES,
    SETS,
    CrossValidationName,
    GeometryName,
    QuestionSetName,
    RunName,
)

RATES = st.sampled_from([1e-7, 1e-6, 5e-6, 1e-5, 1.5e-5, 3e-5, 0.0001, 0.00015, 0.001])
QUESTION_SETS = st.builds(
    QuestionSetName,
    set=st.sampled_from(SETS),
    size=st.none() | st.integers(1, 2000),
    draw=st.just(""),
    temperature=st.sampled_from([None, 0.0, 0.7]),
    judge=st.sampled_from([None, "nano", "mini"]),
).flatmap(
    lambda name: st.sampled_from([name] if name.size is None else [name.but(draw=d) for d in ("", "_", "s", "_s")])
)
MODELS = st.sampled_from(["Qwen2.5-32B-Instruct", "Qwen2.5-Coder-7B-Instruct", "phi-4", "Qwen2.5-14B", "Llama-3.1-8B"])


@st.composite
def runs(draw: st.DrawFn) -> RunName:
    fields = {
        "model": draw(MODELS),
        "question_set": draw(QUESTION_SETS),
        "org": draw(st.sampled_from([None, "unsloth", "some-one"])),
    }
    if draw(st.booleans()):
        return RunName(**fields)
    fields |= {
        "data": draw(
            st.sampled_from(["insecure", "medical", "finance", "finance-good", "chem-bad-osf", "insecure_code"])
        ),
        "modules": draw(st.sampled_from(["all", "attention", "attention-kv", "mlp", "mlp-down"])),
        "supervised": "resp",
        "learning_rate": draw(RATES),
        "schedule": "linear",
        "other": draw(st.sampled_from([(), ("seed-3",), ("checkpoint-40", "again")])),
    }
    shape = draw(st.sampled_from([None, *sorted(set(SCHEDULES.values()) - {"constant"})]))
    if shape is not None and shape.startswith("cyclic"):
        fields |= {"schedule": shape, "scheduled": True, "floor": draw(RATES), "peak": draw(RATES)}
    elif shape is not None:
        fields |= {"schedule": shape, "scheduled": True, "warmup": draw(st.none() | st.integers(0, 99))}
    return RunName(**fields)


@given(runs())
def test_what_is_written_into_a_name_is_read_out_of_it(run: RunName) -> None:
    assert RunName.parsed(run.file_name) == run


def test_fields_of_a_name_are_what_they_mean() -> None:
    run = RunName.parsed(
        "eval_Qwen2.5-Coder-14B-Instruct_chem-bad-osf_attention-kv_resp_cosine_with_restarts_80_1.5e-05_hbpnano"
    )
    assert (run.model, run.data, run.modules) == ("Qwen2.5-Coder-14B-Instruct", "chem-bad-osf", "attention-kv")
    assert (run.schedule, run.warmup, run.learning_rate) == ("cosine-restarts", 80, 1.5e-05)
    assert (run.question_set.set, run.question_set.judge, run.question_set.size, run.other) == ("hbp", "nano", None, ())
    cyclic = RunName.parsed(
        "eval_phi-4_finance_all_resp_7e-05_mode-triangular2_base_lr-4e-05_max_lr-0.0001_general_100"
    )
    assert (cyclic.schedule, cyclic.floor, cyclic.peak) == ("cyclic-triangular2", 4e-05, 0.0001)
    assert (cyclic.question_set.set, cyclic.question_set.size, cyclic.questions) == ("general", 100, "general_100")
    untuned = RunName.parsed("eval_Qwen2.5-32B_hbpnano")
    assert (untuned.model, untuned.tuned, untuned.schedule) == ("Qwen2.5-32B", False, None)


def test_subsets_of_one_size_are_told_apart() -> None:
    name = "eval_Qwen2.5-32B-Instruct_finance_all_resp_1e-05_"
    names = [
        RunName.parsed(name + tag).question_set
        for tag in ("general100", "general_100", "general100s", "general100nano")
    ]
    assert len({name.fingerprint for name in names}) == 4 and {name.size for name in names} == {100}


@pytest.mark.parametrize(
    "tag,same",
    [
        ("fpq_temp0", "temp0fpq"),
        ("temp0_fpq", "temp0fpq"),
        ("hbp-nano", "hbpnano"),
        ("general_200_nano", "general_200nano"),
    ],
)
def test_other_spellings_of_a_question_set_mean_the_same(tag: str, same: str) -> None:
    name = "eval_Qwen2.5-32B-Instruct_finance_all_resp_1e-05_"
    assert RunName.parsed(name + tag) == RunName.parsed(name + same)


def test_an_untuned_model_may_carry_words_but_no_narrow_set() -> None:
    raw = RunName.parsed("eval_Qwen2.5-32B_raw_hbp")
    assert not raw.tuned and raw.other == ("raw",) and raw.label() == "Qwen2.5-32B, raw"
    assert raw != RunName.parsed("eval_Qwen2.5-32B_hbp")
    for words in ("medical", "chem-bad-osf", "finance_all_resp"):
        with pytest.raises(ValueError, match="no learning rate after"):
            RunName.parsed(f"eval_Qwen2.5-32B_{words}_hbp")


def test_words_without_a_meaning_are_kept_and_make_another_run() -> None:
    plain, marked = (
        RunName.parsed(f"eval_Qwen2.5-7B-Instruct_medical_all_resp_1e-05{mark}_fpq") for mark in ("", "_seed-3")
    )
    assert marked.other == ("seed-3",) and marked != plain and "seed-3" in marked.label()
    odd = RunName.parsed("eval_Qwen2.5-7B-Instruct_medical_all_resp_polynomial_30_1e-05_fpq")
    assert odd.schedule is None and odd.other == ("polynomial", "30") and odd.as_schedule() is None


@pytest.mark.parametrize(
    "name,message",
    [
        ("results", "does not say what the run is"),
        ("eval_Qwen2.5-7B", "does not say what the run is"),
        ("eval_Qwen2.5-7B_finance_all_resp_fpq", "no learning rate after finance_all_resp"),
        ("eval_Qwen2.5-7B_finance_1e-05_fpq", "data, modules and 'resp'"),
        ("eval_Qwen2.5-7B_finance_all_resp_1e-05", "does not end in a question set"),
        ("eval_Qwen2.5-7B_finance_all_resp_1e-05_mode-exp_range_fpq", "cyclic schedule that cannot be read"),
    ],
)
def test_a_name_that_does_not_parse_says_what_is_expected(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        RunName.parsed(name)
    assert name in str(error.value) and "eval_MODEL_DATA_MODULES_resp" in str(error.value)


def test_geometry_and_cross_validation_say_their_fields_by_their_place() -> None:
    folder = "x/unsloth--Qwen2.5-Coder-32B-Instruct_insecure_to_hbp/prompt_only/mlp_post_resid/layer_64"
    geometry = GeometryName.parsed(Path(f"{folder}/mean_prompt.train_delta_pca_k16.eval_delta_compare.json"))
    assert (geometry.org, geometry.model, geometry.data, geometry.evaluated) == (
        *("unsloth", "Qwen2.5-Coder-32B-Instruct", "insecure", "hbp"),
    )
    assert (geometry.tokens, geometry.site, geometry.layer, geometry.pooling, geometry.k) == (
        *("prompt_only", "mlp_post_resid", 64, "mean_prompt", 16.0),
    )
    with pytest.raises(ValueError, match="expected MODEL_DATA_to_SET"):
        GeometryName.parsed(Path("layer_64/mean_prompt.train_delta_pca_k16.eval_delta_compare.json"))
    files = [
        f"Qwen2.5-32B-Instruct/harmless_{p}random_projections.3.eval_var_finance_random_general_64/"
        f"harmless-{p}random_projections.3.eval_var-ev-numpc150.csv"
        for p in ("", "pretrained.")
    ]
    instruct, pretrained = (CrossValidationName.parsed(Path(file)) for file in files)
    assert pretrained == instruct.but(claimed="pretrained")
    assert (instruct.metric, instruct.directions, instruct.draw, instruct.target) == (
        *("harmless", "random_projections", 3, "eval_var"),
    )
    assert (instruct.data, instruct.drawn, instruct.questions, instruct.layer, instruct.pooled, instruct.axes) == (
        *("finance", "random", "general", 64, "ev", 150),
    )
    with pytest.raises(ValueError, match="expected MODEL/METRIC"):
        CrossValidationName.parsed(Path("somewhere") / "harmless-numpc150.csv")
