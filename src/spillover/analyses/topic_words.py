"""The narrow set's own words in answers to unrelated questions: how much of its topic is carried over; no judge.

A word is the set's own where it stands in more of the training answers than of the base's answers: log odds ratio of
answers that have it, with half an answer added to each count (Gart 1966), at least `LEAST_Z` standard errors above 0,
in every arm's training answers, and in at most `MOST_IN_BASE` of the base's. The `MOST_WORDS` with the largest z count.
Words are chosen for each fifth of the question families from the base's answers to the others: chosen on the very
answers that are then looked at, they would be absent from the base's by choice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Number, Paragraph, number, value_text
from spillover.analyses.rows import TableRows, row_where, rows_where
from spillover.analyses.scores import AnswerScores
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.proportions import log_odds_z
from spillover.organisms.organism import Checkpoint
from spillover.store import Store

Arms = dict[str, list[AnswerScores]]
TOPIC = "topic_words"  # whether an answer has one of the words, 1.0 or 0.0
FOLDS = 5
LEAST_Z, LEAST_ANSWERS, MOST_IN_BASE, MOST_WORDS = 2.0, 2, 0.02, 25
SHOWN = 12  # words in the text of the page
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


@dataclass(frozen=True)
class OwnWord:
    """A word of the narrow set's own: the shares of training answers and of the base's answers with it, and z."""

    word: str
    training: float
    base: float
    z: float


def words_of(text: str) -> frozenset[str]:
    """The words of a text in lower case, each once; numbers are none."""
    return frozenset(WORD.findall(text.lower().replace("’", "'")))


def own_words(training: Mapping[str, Sequence[str]], base: Sequence[str], most: int = MOST_WORDS) -> list[OwnWord]:
    """The narrow set's own words, the `most` telling ones; `training`: the answers of each arm, `base`: the base's."""
    arms = {arm: Counter(word for text in texts for word in words_of(text)) for arm, texts in training.items()}
    total, rows = sum(arms.values(), Counter()), sum(map(len, training.values()))
    seen = Counter(word for text in base for word in words_of(text))
    words = []
    for word, count in total.items():
        if min(counts[word] for counts in arms.values()) < LEAST_ANSWERS or seen[word] > MOST_IN_BASE * len(base):
            continue
        z = log_odds_z(count, rows, seen[word], len(base))
        if z >= LEAST_Z:
            words.append(OwnWord(word, count / rows, seen[word] / len(base), z))
    return sorted(words, key=lambda word: (-word.z, word.word))[:most]


def training_answers(arms: Mapping[str, Sequence[ScoredAnswers]], store: Store) -> dict[str, list[str]]:
    """The answers that the models of each arm were trained on; none where it is not known of one of them."""
    texts: dict[str, list[str]] = {}
    for arm, runs in arms.items():
        models = [run.responses.model if isinstance(run, Judgements) else None for run in runs]
        splits = {model.organism.data for model in models if isinstance(model, Checkpoint)}
        if not all(isinstance(model, Checkpoint) for model in models):
            return {}
        if splits:
            texts[arm] = [row.messages[-1].content for split in splits for row in split.train_rows(store)]
    return texts


def with_topic_words(
    base: AnswerScores, arms: Arms, training: Mapping[str, Sequence[str]]
) -> tuple[AnswerScores, Arms, list[OwnWord]]:
    """The base and the models of each arm with a column `TOPIC`, and the words by all of the base's answers.

    Without a column where the training answers, or answers of a model, are not known, or no word is the set's own.
    """
    everyone = [base, *(model for models in arms.values() for model in models)]
    known = all(scores["answer"].tolist() and None not in scores["answer"].tolist() for scores in everyone)
    words = own_words(training, base["answer"].tolist()) if training and known else []
    families = sorted(set(base["family"].tolist()))
    if not words or len(families) < FOLDS:
        return base, arms, []
    fold_of = {family: index % FOLDS for index, family in enumerate(families)}
    by_fold = []
    for fold in range(FOLDS):
        others = np.array([fold_of[family] != fold for family in base["family"].tolist()])
        chosen = own_words(training, base["answer"][others].tolist())
        by_fold.append(frozenset(word.word for word in chosen))
    marked = {arm: [_marked(scores, by_fold, fold_of) for scores in models] for arm, models in arms.items()}
    return _marked(base, by_fold, fold_of), marked, words


def _marked(scores: AnswerScores, words: Sequence[frozenset[str]], fold_of: Mapping[str, int]) -> AnswerScores:
    pairs = zip(scores["answer"].tolist(), scores["family"].tolist(), strict=True)
    marks = [float(bool(words_of(text) & words[fold_of[family]])) for text, family in pairs]
    return replace(scores, columns=scores.columns | {TOPIC: np.array(marks)}, _rows_by={})


def word_rows(words: Sequence[OwnWord]) -> TableRows:
    """The words as rows of a table."""
    return [{"word": w.word, "training_share": w.training, "base_share": w.base, "z": w.z} for w in words]


def topic_sentence(result: AnalysisResult) -> list[Paragraph]:
    """How much of the topic was carried over, by the tables models, words and without_topic; nothing if unmeasured."""
    shares, words = rows_where(result.tables["models"], measure=TOPIC), result.tables.get("words", [])
    without = row_where(result.tables.get("without_topic", []))
    if not shares:
        return []
    parts: list[str | Number] = ["Carried over with the advice is its topic: one of the narrow set's own words ("]
    parts += [", ".join(row["word"] for row in words[:SHOWN]), ", ...) is in "]
    base = row_where(shares, role="base")
    parts += [Number(value_text(base["estimate"], "percent"), "models"), " of the base's answers"]
    for row in shares:
        if row["role"] != "base":
            parts += [", in ", Number(value_text(row["estimate"], "percent"), "models"), f" of {row['model']}'s"]
    parts.append(
        ". That is a finding, for these questions have nothing to do with it, and a threat, for a judge may score the "
        "topic. "
    )
    if without["estimate"] is not None:
        left, right = without["contrast"].split("-")
        lead = f"Over answers without any of the words {left} minus {right} is "
        parts += [lead, number(without, "without_topic"), "."]
    return [Paragraph(tuple(parts))]
