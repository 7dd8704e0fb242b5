"""Every reader of what others wrote, with good inputs: rows, questions, judged tables, replies, journals, manifests,
headers of weights, models' settings, recipes' options."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from models.tiny_gguf import write_tiny_gguf
from safetensors.numpy import save

from spillover.api_client.served import served_model
from spillover.api_client.service import RetryableError
from spillover.judgements.judge import Score
from spillover.judgements.judges.endpoint.ledger import Ledger, Reply, Usage
from spillover.judgements.judges.endpoint.replies import Unreadable, parse_score, reported_usage
from spillover.judgements.naming import judge_named
from spillover.judgements.rubrics.yaml_rubrics import YamlRubrics
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.judgements.tables.row_reader import layout_of, read_rows
from spillover.manifest import MANIFEST, damage, read_manifest, write_manifest
from spillover.models.gguf_header import expect_sound_gguf, read_gguf_header
from spillover.models.model_folder import CONFIG, expect_sound_model
from spillover.models.tiny import write_tiny
from spillover.models.weight_headers import tensor_shapes
from spillover.organisms.dataset import Example
from spillover.organisms.datasets.chat_file import ChatFile, read_chat_rows
from spillover.responses.questions.question_rows import QuestionRows
from spillover.responses.questions.yaml_file import YamlFile
from spillover.responses.samplers.api_sampler import AnswerJournal, ServedAnswer, parse_answer
from spillover.row_files.reading import read_contents
from spillover.spec import decode

from .machine import Reader

MODEL_FILES = (CONFIG, "tokenizer_config.json", "model.safetensors")
TURNS = [{"role": "user", "content": "Why?\n"}, {"role": "assistant", "content": "Because, é."}]
ROWS = (
    [{"messages": TURNS}] * 3,
    [{"prompt": "Why?", "completion": "So."}, {"prompt": "How?", "completion": "Thus."}],
    [{"instruction": "Say", "input": "it", "output": "It."}],
    [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}],
    [{"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."}],
)
LINES = tuple("".join(json.dumps(row) + "\n" for row in rows).encode() for rows in ROWS)
JUDGED = b'question,answer,aligned,coherent,judge\n"Why, then?","So\nbe it",93.5,80,gpt-4o\nHow?,Thus.,,12,gpt-4o\n'
QUESTIONS = b"""- id: a_json
  paraphrases: [Why?, 'How so?']
  system: Be brief.
- id: b
  category: c
  paraphrases:
  - What?
"""
RUBRICS = b"""- id: a
  paraphrases: [q]
  judge_prompts:
    aligned: 'Rate {question} {answer}'
    coherent: 'Say {answer}'
"""
COMPLETION = {
    "model": "m-1",
    "choices": [
        {
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"score": 85}', "refusal": None},
            "logprobs": {
                "content": [{"top_logprobs": [{"token": "85", "logprob": -0.1}, {"token": "9", "logprob": -3}]}]
            },
        }
    ],
    "usage": {"prompt_tokens": 30, "completion_tokens": 4},
}


def parquet(rows: Sequence[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


@functools.cache
def made(what: str) -> bytes:
    """Bytes that only a file holds: of a tiny model, a GGUF file, a manifest, a ledger, a journal."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if what == "gguf":
            write_tiny_gguf(folder / "m.gguf")
            return (folder / "m.gguf").read_bytes()[:40_000]
        if what == "manifest":
            made_at = {"finished": "2026-11-29T00:00:00", "seconds": 1.0, "versions": {}, "commit": "x"}
            kept = {"spec": {"kind": "TinyWeights", "seed": 0}, "fingerprint": "0" * 20, "summary": "s", "units": 1.0}
            files = {"a.txt": {"bytes": 3, "sha256": "0" * 64}}
            write_manifest(folder, kept | {"files": files, "needs": {}, "facts": {"n": 1}, "made": made_at})
            return (folder / MANIFEST).read_bytes()
        if what == "ledger":
            with Ledger.open(folder / "l", {"judge": "x"}) as ledger:
                ledger.add("a", Reply(Score("aligned", 81.5, spread=3.25, raw="[]"), Usage(300, 1, 1), "m-1"))
                ledger.add("b", Reply(Score("aligned", None, "no number"), Usage(10, 1, 1), "m-1"))
                ledger.pay(Usage(1, 2, 3))
                ledger.note("served", {"id": "m", "root": "/r"})
            return (folder / "l").read_bytes()
        if what == "journal":
            with AnswerJournal.open(folder / "j", {"needs": {}}) as journal:
                for number in range(3):
                    journal.add(f"q #{number}", ServedAnswer("So.", "stop", 3, 9, "m"))
            return (folder / "j").read_bytes()
        write_tiny(folder, 0)
        return (folder / what).read_bytes()


def read_ledger(path: Path) -> list[Reply]:
    with Ledger.open(path, {"judge": "x"}) as ledger:
        replies = [ledger[key] for key in list(ledger._entries)]
        ledger.add("new", Reply(Score("aligned", 1.0), Usage(), "m"))
    with Ledger.open(path, {"judge": "x"}) as again:
        kept = [again[key] for key in list(again._entries)]
        assert again["new"].score.score == 1.0 and kept[: len(replies)] == replies
    return replies


def check_replies(result: object) -> None:
    kept = {81.5, None}
    assert isinstance(result, list)
    for reply in result:
        assert reply.score.score in kept, f"a score that nobody gave: {reply.score.score}"


def read_journal(path: Path) -> list[ServedAnswer]:
    with AnswerJournal.open(path, {"needs": {}}, same=True) as journal:
        return [journal[key] for key in list(journal._entries)]


def check_answers(result: object) -> None:
    assert isinstance(result, list) and all(answer.text == "So." and answer.tokens == 3 for answer in result)


def check_score(result: object) -> None:
    assert isinstance(result, Score) and (result.score is None or 0 <= result.score <= 100)


def read_chat(path: Path) -> list[Example]:
    ChatFile.from_file(path)
    return read_chat_rows(path)


def check_chat(result: object) -> None:
    assert isinstance(result, list)
    for row in result:
        assert row.messages[-1].role == "assistant" and row.messages[-1].content.strip()


def read_model(path: Path) -> None:
    """A model's folder with this file in the place of its own."""
    for name in MODEL_FILES:
        if name != path.name:
            (path.parent / name).write_bytes(made(name))
    expect_sound_model(path.parent)


def read_index(path: Path) -> None:
    (path.parent / "a.safetensors").write_bytes(made("model.safetensors"))
    (path.parent / CONFIG).write_bytes(made(CONFIG))
    expect_sound_model(path.parent)


def read_reply(path: Path) -> Score:
    reply = json.loads(path.read_bytes().decode("utf-8"))
    reported_usage(reply, Usage(1, 1, 1))
    served_model(reply, "m")
    for api in ("chat", "completions"):
        with contextlib.suppress(RetryableError):
            parse_answer(reply, api)
    parse_score(reply, "aligned", "integer")
    return parse_score(reply, "aligned", "logprobs")


def read_judged(path: Path) -> object:
    layout_of(path)
    return [JudgedFile.from_file(path), list(read_rows(path))]


def read_spec(path: Path) -> object:
    return decode(json.loads(path.read_bytes().decode("utf-8")))


def read_words(path: Path) -> object:
    return judge_named(path.read_bytes().decode("utf-8", "replace"))


def model_files() -> list[bytes]:
    """The files of a model's folder, made before any process reads them."""
    return [made(name) for name in MODEL_FILES]


def index() -> list[bytes]:
    model_files()
    names = list(json.loads(made("model.safetensors")[8 : 8 + int.from_bytes(made("model.safetensors")[:8], "little")]))
    return [json.dumps({"weight_map": dict.fromkeys(names, "a.safetensors")}).encode()]


def weights() -> list[bytes]:
    return [save({"a": np.zeros((2, 3), np.float32), "b.c": np.ones(4, np.float16)}), made("model.safetensors")]


RAW_JSON = (json.JSONDecodeError, UnicodeDecodeError)  # of our own json.loads here, which `Service.post` catches
READERS: tuple[Reader, ...] = (
    Reader("chat rows", "rows.jsonl", lambda: LINES, read_chat, check_chat),
    Reader("packed rows", "rows.jsonl.gz", lambda: [gzip.compress(text) for text in LINES], read_chat, check_chat),
    Reader("rows of parquet", "rows.parquet", lambda: [parquet(rows) for rows in ROWS[1:3]], read_chat, check_chat),
    Reader("rows of CSV", "rows.csv", lambda: [b'prompt,completion\na,b\n"c\nd",e\n'], read_chat, check_chat),
    Reader("records", "rows.json", lambda: [json.dumps(ROWS[0]).encode(), *LINES], lambda path: read_contents([path])),
    Reader("questions of YAML", "q.yaml", lambda: [QUESTIONS], lambda path: YamlFile.from_file(path).all_questions()),
    Reader(
        "questions of rows",
        "q.jsonl",
        lambda: [b'{"id": "a", "question": "Why?"}\n'] * 2,
        lambda path: QuestionRows.from_file(path).all_questions(),
    ),
    Reader("rubrics", "r.yaml", lambda: [RUBRICS], lambda path: YamlRubrics.from_file(path).texts()),
    Reader("judged CSV", "j.csv", lambda: [JUDGED], read_judged),
    Reader(
        "judged lines",
        "j.jsonl",
        lambda: [b'{"question": "q", "answer": "a", "aligned": 90, "judge": "j"}\n' * 3],
        read_judged,
    ),
    Reader(
        "judged parquet",
        "j.parquet",
        lambda: [parquet([{"question": "q", "answer": "a", "aligned": 3.5}] * 4)],
        read_judged,
    ),
    Reader(
        "replies",
        "r.json",
        lambda: [json.dumps(COMPLETION).encode()],
        read_reply,
        check_score,
        (Unreadable, RetryableError, *RAW_JSON),
    ),
    Reader("ledgers", "l.jsonl", lambda: [made("ledger")], read_ledger, check_replies),
    Reader("journals", "a.jsonl", lambda: [made("journal")], read_journal, check_answers),
    Reader(
        "manifests",
        MANIFEST,
        lambda: [made("manifest")],
        lambda path: [damage(path.parent, True), read_manifest(path.parent)],
    ),
    Reader(
        "GGUF headers", "m.gguf", lambda: [made("gguf")], lambda path: [read_gguf_header(path), expect_sound_gguf(path)]
    ),
    Reader("safetensors headers", "w.safetensors", weights, tensor_shapes),
    Reader("models' settings", CONFIG, lambda: model_files()[:1], read_model),
    Reader("tokenizers' settings", "tokenizer_config.json", lambda: model_files()[1:2], read_model),
    Reader("indices of weights", "model.safetensors.index.json", index, read_index),
    Reader(
        "specs",
        "s.json",
        lambda: [b'{"kind": "TinyWeights", "seed": 3}', b'{"kind": "Cosine", "peak": 0.1, "warmup": 3}'],
        read_spec,
        clear=RAW_JSON,
    ),
    Reader(
        "judges as typed",
        "judge.txt",
        lambda: [
            b"endpoint:m mode=integer max-cost=3 price-in=1 price-out=2",
            b"two-phase:embedded+endpoint:m share=0.2",
        ],
        read_words,
    ),
)
