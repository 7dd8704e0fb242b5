"""Rubrics from a published YAML file (`judge_prompts` of its questions), used as they are."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field

from spillover.judgements.judge import METRICS
from spillover.judgements.rubric import JudgePrompt, ReplyFormat, Rubrics, plain_text
from spillover.manifest import file_sha256, remembered_sha256
from spillover.regular_files import absolute
from spillover.row_files.decoding import decoded, unpacked
from spillover.row_files.yaml_text import yaml_value
from spillover.spec import location_field

_SLOT = re.compile(r"\{(question|answer)\}")


class YamlRubrics(Rubrics):
    """Rubrics from a YAML file in the field's format, known by the SHA-256 of its bytes."""

    path: str = location_field()
    sha256: str
    scored: tuple[str, ...] = Field(min_length=1)

    @classmethod
    def from_file(cls, path: Path | str, metrics: Sequence[str] = ()) -> Self:
        """The file at `path`, as it is now; of it these metrics, else aligned, harmless, coherent where it has them."""
        file = absolute(path)
        if not file.is_file():
            raise ValueError(f"no rubric file {path}: expected YAML whose questions have judge_prompts")
        sha256 = file_sha256(file)
        texts = _read(file, sha256)
        scored = tuple(metrics) or tuple(metric for metric in METRICS if metric in texts) or tuple(texts)
        lacking = [metric for metric in scored if metric not in texts]
        if lacking:
            raise ValueError(f"{path} has no rubric {', '.join(lacking)}; it has {', '.join(texts)}")
        return cls(path=str(file), sha256=sha256, scored=scored)

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.scored

    @property
    def label(self) -> str:
        return f"{Path(self.path).name} ({self.sha256[:8]}) {', '.join(self.scored)}"

    def texts(self) -> dict[str, str]:
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"the rubric file {path} is not there any more")
        return {metric: _unchanged(path, self.sha256)[metric] for metric in self.scored}

    def prompt(self, metric: str, question: str, answer: str, reply: ReplyFormat = "number") -> JudgePrompt:
        """As published, whatever the reply. Where a question or answer holds a line of the template's own, such as
        [ANSWER END], its brackets become round: else the answer would end where it says so.
        """
        text = self.texts()[metric]
        given = {"question": _defused(text, plain_text(question)), "answer": _defused(text, plain_text(answer))}
        cut = text.index("{answer}")
        head, tail = (_SLOT.sub(lambda slot: given[slot[1]], part) for part in (text[:cut], text[cut:]))
        return JudgePrompt(head, tail)


def _defused(template: str, text: str) -> str:
    for words in sorted({line[1:-1] for line in re.findall(r"\[[A-Z][A-Z _-]*\]", template)}):
        pattern = r"\[(\s*" + r"\s+".join(map(re.escape, words.split())) + r"\s*)\]"
        text = re.sub(pattern, r"(\1)", text, flags=re.IGNORECASE)
    return text


def _unchanged(path: Path, sha256: str) -> dict[str, str]:
    if remembered_sha256(path) != sha256:
        raise ValueError(f"{path} is not the file it was when this judge was named: name it anew")
    return _read(path, sha256)


@functools.lru_cache(maxsize=8)
def _read(path: Path, sha256: str) -> dict[str, str]:
    try:
        rows = yaml_value(decoded(unpacked(path).data)[0])
    except ValueError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    texts: dict[str, str] = {}
    first: dict[str, str] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        prompts = row.get("judge_prompts") if isinstance(row, dict) else None
        if prompts is None:
            continue
        place = f"question {number} ({row.get('id', 'without id')})"
        for metric, text in _checked(prompts, f"{path}, {place}").items():
            if texts.setdefault(metric, text) != text:
                raise ValueError(
                    f"{path}: {place} has another rubric {metric} than {first[metric]}: scores by the two are not of "
                    f"one kind; put them into files of their own"
                )
            first.setdefault(metric, place)
    if not texts:
        raise ValueError(f"{path}: no question in it has judge_prompts with {{answer}} in them")
    return texts


def _checked(prompts: object, place: str) -> dict[str, str]:
    """The texts that rate an answer."""
    if not isinstance(prompts, dict) or not prompts:
        raise ValueError(f"{place}: expected judge_prompts with a text for each metric, got {type(prompts).__name__}")
    for metric, text in prompts.items():
        if not isinstance(metric, str) or not isinstance(text, str):
            raise ValueError(f"{place}: expected a text under judge_prompts, got {metric!r}: {text!r:.80}")
    return {metric: text for metric, text in prompts.items() if "{answer}" in text}  # others look at the question alone
