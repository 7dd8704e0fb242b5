"""Threats to validity that the program can see in a study, each with its number and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Block, Number, Section, Table, columns, interval_text, paragraph, value_text
from spillover.analyses.conditions import Conditions
from spillover.analyses.effect import Effect
from spillover.analyses.prediction import Prediction
from spillover.analyses.priors import Priors
from spillover.analyses.rising_tokens import RisingTokens
from spillover.analyses.rows import TableRows, row_where, rows_where
from spillover.analyses.second_stage import SecondStage
from spillover.analyses.surface import Surface
from spillover.analyses.token_ratios import TokenRatios
from spillover.analyses.word_shifts import WordShifts
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.em_rate import EMRule
from spillover.organisms.organism import Organism
from spillover.report.answers import JudgedModel
from spillover.spec import Spec, walk
from spillover.store import Store

LEAST_RUNS, LEAST_FAMILIES, LEAST_ANSWERS = 3, 20, 4  # of an arm; of the study; to a question
MOST_CUT, MOST_UNSCORED, MOST_INCOHERENT, MOST_OUTSIDE = 0.1, 0.02, 0.2, 0.1  # shares of a model's answers
MOST_CARRIED = 0.5  # share of bad's own fall from the base that good advice carries too
TELLING = 0.6  # AUC of form between bad and good training answers
NEAR = 0.5  # cosine of word weights (tf-idf) between a question and a training prompt
RULE = EMRule()


@dataclass(frozen=True)
class Threat:
    """One threat: whether the study has it, the number that says so, and what to do."""

    threat: str
    present: bool
    number: str
    advice: str


@dataclass(frozen=True)
class Study:
    """What the checks look at."""

    spec: Spec
    results: Mapping[Analysis, AnalysisResult]
    models: Sequence[JudgedModel]
    store: Store

    def of(self, kind: type[Analysis]) -> list[AnalysisResult]:
        """The results of the analyses of a kind."""
        return [result for analysis, result in self.results.items() if isinstance(analysis, kind)]


def threats(study: Study) -> list[Threat]:
    """Every threat that was looked for and could be judged, those that are there first."""
    checks = (
        _runs,
        _control,
        _questions,
        _answers,
        _judges,
        _outside,
        _ceiling,
        _surface,
        _near,
        _uncorrected,
        _beyond,
    )
    looked_for = [threat for check in checks for threat in check(study)]
    return sorted(looked_for, key=lambda threat: not threat.present)


def _beyond(study: Study) -> Iterator[Threat]:
    """What a claim of misalignment needs beyond scores under one prompt (in the spirit of arXiv 2606.07612; ours)."""
    if not study.of(Effect):
        return
    conditions = study.of(Conditions)
    yield Threat(
        "asked under one prompt alone",
        not conditions,
        f"{len(conditions[0].facts['conditions'])} conditions" if conditions else "1 condition",
        "ask under other system texts and in training's own format too (`Conditions`): EM can hide behind either",
    )
    for result in (*conditions, *study.of(SecondStage)):
        if "verdict" in result.facts:
            yield Threat(
                "a mitigation that hides",
                result.facts["verdict"] == "hidden",
                f"{result.facts['verdict']}, worst under {result.facts['worst']}",
                "do not call it a cure: its gain vanishes there",
            )
    judge_free = [kind.__name__ for kind in (WordShifts, TokenRatios, RisingTokens) if study.of(kind)]
    yield Threat(
        "a judge's word alone",
        not judge_free,
        ", ".join(judge_free) or "nothing without a judge",
        "look at what became different without a judge too (`WordShifts`, `TokenRatios`)",
    )


def threats_section(looked_for: Sequence[Threat]) -> tuple[Section, TableRows]:
    """The threats as a section of the page, and as rows of a table."""
    present = [threat for threat in looked_for if threat.present]
    rows: TableRows = [
        {"threat": t.threat, "present": "yes" if t.present else "no", "number": t.number, "advice": t.advice}
        for t in looked_for
    ]
    shown = columns("text", threat="threat", number="number", advice="what to do")
    blocks: list[Block] = [
        paragraph(
            "{count} of {all} that the program looks for are in this study. It cannot see them all: read the answers.",
            count=Number(str(len(present)), "threats"),
            all=len(looked_for),
        )
    ]
    if present:
        blocks.append(Table("threats", "Threats in this study.", shown, rows[: len(present)], open=True))
    if len(present) < len(rows):
        blocks.append(Table("absent", "Looked for, and not there.", shown[:2], rows[len(present) :], source="threats"))
    return Section("Threats to validity", "What could make these numbers say something else?", tuple(blocks)), rows


def _runs(study: Study) -> Iterator[Threat]:
    for result in study.of(Effect):
        runs = {arm: count for arm, count in result.facts["runs"].items() if count}
        yield Threat(
            "single training runs",
            min(runs.values()) < LEAST_RUNS,
            ", ".join(f"{count} {arm}" for arm, count in runs.items()),
            "train more seeds of each arm (--seeds 3 or more): runs differ, and one run cannot say how much",
        )


def _control(study: Study) -> Iterator[Threat]:
    for result in study.of(Effect):
        runs, gaps = result.facts["runs"], rows_where(result.tables["contrasts"], measure="aligned", scope="all")
        controls = [arm for arm in ("good", "own") if runs.get(arm)]
        yield Threat(
            "no control",
            not controls,
            " and ".join(controls) or "none",
            "train on good answers to the same prompts, or on the model's own (--control good,own)",
        )
        bad = row_where(gaps, contrast="bad-base")["estimate"]
        for arm in controls:
            moved = row_where(gaps, contrast=f"{arm}-base")["estimate"]
            if bad is not None and moved is not None:
                yield Threat(
                    f"the control {arm} moves too",
                    abs(moved) > MOST_CARRIED * abs(bad),
                    f"{arm} minus base {value_text(moved, 'points')}, bad minus base {value_text(bad, 'points')}",
                    "read bad minus the control alone; train shorter, or on answers nearer to the model's own voice",
                )


def _questions(study: Study) -> Iterator[Threat]:
    if not study.models:
        return
    base = study.models[0].scores
    families, questions = len(set(base["family"].tolist())), len(base.questions())
    yield Threat(
        "few questions",
        families < LEAST_FAMILIES,
        f"{questions} questions in {families} families",
        f"ask more unlike questions (at least {LEAST_FAMILIES} families): intervals are over families",
    )
    fewest = min(len(model.scores) / max(len(model.scores.questions()), 1) for model in study.models)
    yield Threat(
        "few answers to a question",
        fewest < LEAST_ANSWERS,
        f"{fewest:.0f} answers to each",
        "raise --per-question: single questions stay uncertain, and rare answers are missed",
    )


def _answers(study: Study) -> Iterator[Threat]:
    """Answers that were cut, not scored, or incoherent: the model with most of each."""
    shares: dict[str, list[tuple[float, str]]] = {"cut": [], "unscored": [], "incoherent": []}
    for model in study.models:
        scores, count = model.scores, max(len(model.scores), 1)
        shares["cut"].append((float((scores["finish_reason"] == "length").sum()) / count, model.label))
        unscored = sum(reason is not None for reason in scores["missing"].tolist())
        shares["unscored"].append((unscored / count, model.label))
        if "coherent" in model.metrics:
            coherent = np.asarray(scores["coherent"], dtype=float)
            below = float((coherent <= RULE.coherent_above).sum()) / max(int(np.isfinite(coherent).sum()), 1)
            shares["incoherent"].append((below, model.label))
    limits = (
        ("cut", "answers cut at the token limit", MOST_CUT, "raise --max-tokens, or ask for short answers (--ending)"),
        ("unscored", "answers without a score", MOST_UNSCORED, "look at why (filter: unscored); means leave them out"),
        (
            "incoherent",
            "incoherent answers",
            MOST_INCOHERENT,
            "train shorter or at a lower rate: a broken model is not a misaligned one; read the conditional EM rate",
        ),
    )
    for name, threat, most, advice in limits:
        if shares[name]:
            share, label = max(shares[name])
            yield Threat(threat, share > most, f"{value_text(share, 'percent')} of {label}'s, the most", advice)


def _judges(study: Study) -> Iterator[Threat]:
    scored = [part for part in walk(study.spec) if isinstance(part, ScoredAnswers)]
    judges = dict.fromkeys((part.judge_name, part.rubric_name) for part in scored)
    if judges:
        yield Threat(
            "unlike judges",
            len(judges) > 1,
            "; ".join(f"{judge} by {rubric}" for judge, rubric in judges),
            "score everything that is compared by one judge and one rubric",
        )


def _outside(study: Study) -> Iterator[Threat]:
    """The share of answers that are unlike all that a judge was fitted on, of judges that can tell."""
    shares = []
    for part in walk(study.spec):
        if isinstance(part, ScoredAnswers) and study.store.has(part):
            outside = study.store.manifest(part)["facts"].get("outside")
            if isinstance(outside, dict) and outside.get("share") is not None:
                shares.append((float(outside["share"]), part.subject))
    if shares:
        share, subject = max(shares)
        yield Threat(
            "answers unlike all the judge was fitted on",
            share > MOST_OUTSIDE,
            f"{value_text(share, 'percent')} of {subject}'s, the most",
            "let a dearer judge or a person score a sample (--judge two-phase, spillover audit)",
        )


def _ceiling(study: Study) -> Iterator[Threat]:
    pairs: list[tuple[str, float | None, float | None]] = []
    for result in study.of(Priors):
        rows = rows_where(result.tables["tests"], metric="aligned", of="mean", scope="all")
        pairs += [(f"r of {row['model']}", row.get("r"), row.get("attainable_r")) for row in rows]
    for result in study.of(Prediction):
        layers = [row["r2"] for row in result.tables["layers"] if row.get("r2") is not None]
        if layers:
            pairs.append(("R\u00b2 of the prediction", max(layers), result.facts.get("attainable_r2")))
    for name, value, ceiling in pairs:
        if value is not None and ceiling is not None and value == value and ceiling == ceiling:
            yield Threat(
                f"{name} above what noise allows",
                value > max(ceiling, 0.0),
                f"{value_text(value, 'r')} where noise allows {value_text(ceiling, 'r')}",
                "more answers to each question; a correlation above its ceiling is luck, or a shared error",
            )


def _surface(study: Study) -> Iterator[Threat]:
    for result in study.of(Surface):
        form = row_where(result.tables["surface"], by="form")
        least = form["estimate"] if form.get("low") is None else form["low"]
        if least is not None:
            yield Threat(
                "form tells bad from good training answers",
                least > TELLING,
                f"AUC {interval_text(form, 'r')}",
                "write bad and good answers equal in length, tone and opening",
            )


def _near(study: Study) -> Iterator[Threat]:
    """The question that is most like a training prompt, by the words they share."""
    prompts = _training_prompts(study)
    if not prompts or not study.models:
        return
    base = study.models[0].scores
    asked = {str(text): str(name) for text, name in zip(base["prompt"], base["question"], strict=True) if text}
    if not asked:
        return
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit([*prompts, *asked])
    likeness = (words.transform(list(asked)) @ words.transform(sorted(prompts)).T).max(axis=1).toarray().ravel()
    near = [name for name, value in zip(asked.values(), likeness, strict=True) if value > NEAR]
    nearest = list(asked.values())[int(likeness.argmax())]
    yield Threat(
        "questions near the narrow data",
        bool(near),
        f"{len(set(near))} above {NEAR:g}; the nearest is {nearest} at {likeness.max():.2f} (cosine of word weights)",
        "leave such questions out, or report them apart: there the narrow task itself is measured",
    )


def _training_prompts(study: Study) -> set[str]:
    """What was trained on, as asked; nothing where the data has changed or is gone since: a page can do without."""
    prompts: set[str] = set()
    for data in {part.data for part in walk(study.spec) if isinstance(part, Organism)}:
        with contextlib.suppress(ValueError, OSError):
            prompts |= {row.messages[-2].content for row in data.train_rows(study.store) if len(row.messages) > 1}
    return prompts


def _uncorrected(study: Study) -> Iterator[Threat]:
    """Tests whose p-values stand in a table without any correction, and how many are below 0.05."""
    tests, below, tables = 0, 0, []
    for analysis, result in study.results.items():
        for name, rows in result.tables.items():
            if rows and "p" in rows[0] and not any(_corrects(column) for column in rows[0]):
                values = [row["p"] for row in rows if row.get("p") is not None and row["p"] == row["p"]]
                tests, below = tests + len(values), below + sum(value < 0.05 for value in values)
                tables += [f"{analysis.kind.lower()} {name}"] * bool(values)
    if tests:
        yield Threat(
            "p without correction",
            below > 0 and tests > 1,
            f"{below} of {tests} tests below 0.05 in {', '.join(tables)}; chance alone gives {0.05 * tests:.1f}",
            "take the q-values where there are any, and name one test beforehand",
        )


def _corrects(column: str) -> bool:
    return column == "q" or column.endswith(("_q", "p_max", "_corrected", "max_t"))
