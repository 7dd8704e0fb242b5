"""Who judged a set of answers, as far as the files tell, and by which evidence.

Evidence: who is stated; the judge that the question file names; the scores themselves (an expectation over number
tokens is a fraction, a number in a JSON schema an integer); a tag in the run's name. Where they differ, who is stated
is believed, then the scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spillover.judgements.tables.row_reader import FileCells
from spillover.responses.questions.yaml_file import YamlFile
from spillover.row_files.decoding import decoded, unpacked
from spillover.row_files.yaml_text import yaml_value
from spillover.spec import Spec, location_field

ScoreKind = Literal["fractions", "integers", "mixed", "none"]
UNKNOWN = "unknown"
TAGS = {"nano": "gpt-5-nano", "mini": "gpt-5-mini", "4o": "gpt-4o", "4omini": "gpt-4o-mini"}
MODES = {
    "fractions": "expectation over number tokens (log-probabilities)",
    "integers": "an integer in a JSON schema",
    "mixed": "integers for some metrics, fractions for others",
    "none": "no scores",
}
FAMILY = "gpt-"  # of other judges that are stated no kind of scores is expected
BY_LOG_PROBABILITIES = "gpt-4"  # how the names of judges begin that give log-probabilities; gpt-5 gives none


@dataclass(frozen=True)
class QuestionFile:
    """A YAML file of questions with what it says of the judge. `judges`: distinct names, the most frequent first."""

    path: Path
    sha256: str
    ids: frozenset[str]
    judges: tuple[str, ...]
    prompts_sha256: str | None  # of the judge prompts, by metric; None where there are none


class ScoredBy(Spec):
    """Who judged: each piece of evidence, and what follows."""

    scores: ScoreKind
    named: tuple[str, ...] = ()  # the judges that the question file names
    prompts_sha256: str | None = None  # of its judge prompts
    tag: str | None = None  # in the run's name
    stated: str | None = None  # by the file itself, or by whoever imported it
    stated_rubric: str | None = None  # by the file itself
    question_file: str = location_field("")

    @property
    def name(self) -> str:
        """The judge, as exactly as the evidence allows; `unknown` where it allows nothing."""
        if self.stated:
            return self.stated
        fits = tuple(dict.fromkeys(name for name in (*self.named, *self._tagged) if self._fits(name)))
        if self.scores == "fractions":
            return fits[0] if fits else UNKNOWN if not self._is_named else "gpt-4o"
        if self.scores == "integers":
            return fits[0] if len(fits) == 1 else "gpt-5-mini/nano" if self._is_named else UNKNOWN
        return UNKNOWN

    @property
    def mode(self) -> str:
        """How a score came to be."""
        return MODES[self.scores]

    @property
    def rubric(self) -> str:
        """Which judge prompts, as stated or by their digest; unknown where the question file names another judge."""
        if self.stated_rubric:
            return self.stated_rubric
        known = self.prompts_sha256 is not None and (not self.named or any(map(self._fits, self.named)))
        return f"judge prompts {str(self.prompts_sha256)[:8]}" if known else UNKNOWN

    def evidence(self) -> str:
        """What each piece of evidence says, in one sentence."""
        parts = [f"scores are {self.scores}" + (f": {self.mode}" if self.scores in ("fractions", "integers") else "")]
        if self.named:
            parts.append(f"{self.question_file or 'the question file'} names {' and '.join(self.named)}")
        elif not self.stated:
            parts.append("no question file with these questions names a judge")
        parts += [f"the name says {self.tag}"] if self.tag else []
        parts += [f"stated: {self.stated}"] if self.stated else []
        return "; ".join(parts)

    def conflict(self) -> str | None:
        """Where the evidence disagrees; None where it does not."""
        wrong = [
            f"{self.question_file or 'the question file'} names {name}" for name in self.named if not self._fits(name)
        ]
        wrong += [f"the name says {self.tag}" for name in self._tagged if not self._fits(name)]
        if self.stated and self.stated.startswith(FAMILY) and not self._fits(self.stated):
            wrong.append(f"it was imported as {self.stated}'s")
        if wrong and self.scores in ("fractions", "integers"):
            return f"{', '.join(wrong)}, but the scores are {self.scores} ({self.mode})"
        if self._tagged and self.named and not set(self._tagged) & set(self.named[:1]) and not wrong:
            return f"the name says {self.tag}, {self.question_file or 'the question file'} {' and '.join(self.named)}"
        return "some metrics are scored in integers, others in fractions" if self.scores == "mixed" else None

    def card(self) -> str:
        """For the reader of a report: what is known of this judge."""
        return f"Imported scores, {self.mode}. Evidence: {self.evidence()}." + (
            f" The evidence disagrees: {text}." if (text := self.conflict()) else ""
        )

    def summary(self) -> str:
        return f"{self.name} ({self.mode})"

    @property
    def _is_named(self) -> bool:
        return bool(self.named or self.tag)

    @property
    def _tagged(self) -> tuple[str, ...]:
        return (TAGS[self.tag],) if self.tag in TAGS else ()

    def _fits(self, name: str) -> bool:
        """Whether a judge of that name can give such scores."""
        if self.scores in ("mixed", "none"):
            return False
        return name.startswith(BY_LOG_PROBABILITIES) == (self.scores == "fractions")


def score_kind(whole: Iterable[bool | None]) -> ScoreKind:
    """What scores are, from whether each metric's are all integers (None: it has none)."""
    known = [integers for integers in whole if integers is not None]
    if not known:
        return "none"
    return "integers" if all(known) else "fractions" if not any(known) else "mixed"


def read_questions(path: Path) -> QuestionFile:
    """A question file with the judge it names; ValueError where it is no such file."""
    source = YamlFile.from_file(path)
    ids = frozenset(question.id for question in source.all_questions())
    rows: list[FileCells] = yaml_value(decoded(unpacked(path).data)[0])  # type: ignore[assignment]
    named = [row["judge"] for row in rows if isinstance(row.get("judge"), str)]
    judges = sorted(set(named), key=lambda name: (-named.count(name), name))
    prompts = [row["judge_prompts"] for row in rows if isinstance(row.get("judge_prompts"), dict)]
    distinct = sorted({json.dumps(prompt, sort_keys=True, default=str) for prompt in prompts})
    digest = hashlib.sha256("\n".join(distinct).encode()).hexdigest() if distinct else None
    return QuestionFile(path, source.sha256, ids, tuple(judges), digest)


def question_file_with(
    files: Sequence[QuestionFile], ids: Iterable[str], scores: ScoreKind, tag: str | None
) -> QuestionFile | None:
    """The question file that a set of answers was asked from, most likely: it has all ids; None where none has.

    Of several, the one whose judge fits scores and tag; then the one with the fewest other questions.
    """
    asked = frozenset(ids)
    fitting = [file for file in files if asked and asked <= file.ids]

    def rank(file: QuestionFile) -> tuple[bool, bool, int, str]:
        by = ScoredBy(scores=scores, named=file.judges)
        return (by.conflict() is not None, TAGS.get(tag or "") not in file.judges, len(file.ids), file.path.name)

    return min(fitting, key=rank, default=None)
