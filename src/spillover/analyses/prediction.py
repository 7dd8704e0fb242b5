"""Predict each question's score after fine-tuning from the model's activations before it (METHOD section 2b).

Knows scores and activations. Rows are questions in their answer formats; targets are centred within format, so that
telling formats apart predicts nothing; folds never split a family of questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from spillover.activations.activations import Activations, layers, read_activations
from spillover.analyses.analysis import Analysis, Found
from spillover.analyses.prediction_section import show_prediction
from spillover.analyses.scores import Scores, questions_of, read, refuse_unlike
from spillover.analyses.showing import Section
from spillover.judgements.scored import Scored
from spillover.maths.folds import grouped_folds
from spillover.maths.multiplicity import max_t
from spillover.maths.permutation import permutations
from spillover.maths.reliability import split_half
from spillover.maths.ridge import Ridge, cross_validate, permuted_skill
from spillover.records import read_table
from spillover.store import Work

POOLINGS = ("last", "mean")


class Prediction(Analysis):
    """How well a ridge on activations before training predicts each question's score after it, layer by layer."""

    activations: Activations  # of the model before, for the questions asked
    before: Scored  # for the baseline that knows the prior's own score
    after: Scored
    metric: str = "aligned"
    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=4, ge=1)
    permutations: int = Field(default=199, ge=19)
    every: int = Field(default=1, ge=1)  # layers looked at: every so many, the last one always
    seed: int = 0

    def analyse(self, work: Work) -> Found:
        refuse_unlike((self.before, self.after))
        folder = work.of(self.activations)
        prompts = {row["prompt_id"]: row for row in read_table(folder / "prompts.parquet").to_pylist()}
        before, after = read(self.before, work.store), read(self.after, work.store)
        names, about = questions_of(after, by="question_id")
        missing = [name for name in names if name not in prompts]
        if missing:
            raise ValueError(
                f"no activations of {missing[0]} and {len(missing) - 1} more questions; capture what is asked"
            )
        scored = ~np.isnan(after.means(self.metric, names, by="question_id"))
        names = [name for name, keep in zip(names, scored, strict=True) if keep]
        families = np.array([about[name]["family"] for name in names])
        formats = np.array([about[name]["format"] for name in names])
        y = _within(after.means(self.metric, names, by="question_id"), formats)
        rows = np.array([prompts[name]["row"] for name in names])
        folds = grouped_folds(families, self.folds, self.repeats, self.seed)
        orders = permutations(len(names), self.permutations, self.seed, families)
        orders = np.concatenate([np.arange(len(names), dtype=np.int64)[None], orders])
        table, skills = [], []
        sources = [*self._features(folder, rows), *_baselines(before, names, about, prompts, formats, self.metric)]
        for done, (source, x) in enumerate(sources, start=1):
            fit = cross_validate(x, y, folds, families, Ridge(inner="gcv"))
            skill = permuted_skill(x, y, folds, orders, families, Ridge(inner="gcv"))[0]
            skills.append(skill)
            r2 = fit.score()
            table.append({**source, **r2.as_row(), "skill": float(skill[0]), "rmse": float(fit.rmse.mean())})
            work.tick(done / len(sources))
        self._test(table, np.array(skills))
        noise = split_half(_centred_answers(after, names, self.metric))
        facts = {
            "model": self.activations.model.label(),
            "target": after.label,
            "metric": self.metric,
            "attainable_r2": noise.value,
            "rows": len(names),
            "families": len(set(families.tolist())),
        }
        return Found({"layers": table}, facts)

    def show(self, found: Found) -> Section:
        return show_prediction(found)

    def _features(self, folder: Any, rows: np.ndarray) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        there = layers(folder)
        for pooling in POOLINGS:
            for layer in sorted({*there[:: self.every], there[-1]}):
                values = read_activations(folder, f"resid_post.{layer:02d}", pooling)[rows].astype(np.float64)
                yield {"features": "activations", "layer": layer, "pooling": pooling}, values

    def _test(self, table: list[dict[str, Any]], skills: np.ndarray) -> None:
        """One-sided permutation p of every row, and q by max-T over layers and poolings (each baseline by itself)."""
        observed, drawn = skills[:, 0], skills[:, 1:]
        looked = np.array([row["features"] == "activations" for row in table])
        adjusted = max_t(observed[looked], drawn[looked].T, two_sided=False)
        for index, row in enumerate(table):
            row["p"] = float((1 + (drawn[index] >= observed[index] - 1e-12).sum()) / (1 + drawn.shape[1]))
            row["q"] = row["p"]
        for index, q in zip(np.flatnonzero(looked).tolist(), adjusted, strict=True):
            table[index]["q"] = float(q)


def _baselines(
    before: Scores, names: list[str], about: Any, prompts: Any, formats: np.ndarray, metric: str
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Features that no activation is needed for."""
    length = np.log([prompts[name]["prompt_tokens"] for name in names])
    yield {"features": "prompt length", "layer": None, "pooling": None}, _within(length, formats)[:, None]
    categories = np.array([about[name]["category"] for name in names])
    dummies = (categories[:, None] == np.unique(categories)[None, :]).astype(float)
    yield {"features": "category", "layer": None, "pooling": None}, dummies
    prior = _within(before.means(metric, names, by="question_id"), formats)
    yield {"features": "score before", "layer": None, "pooling": None}, np.nan_to_num(prior)[:, None]


def _within(values: np.ndarray, formats: np.ndarray) -> np.ndarray:
    """Values less the mean of their answer format."""
    found = np.array(values, dtype=np.float64)
    for format in np.unique(formats):
        inside = formats == format
        if np.isfinite(found[inside]).any():
            found[inside] -= np.nanmean(found[inside])
    return found


def _centred_answers(scores: Scores, names: list[str], metric: str) -> np.ndarray:
    """(question ids, answers), each answer less its format's mean; NaN where there are fewer answers."""
    values = _within(scores[metric], scores["format"])
    owned = [values[scores["question_id"] == name] for name in names]
    width = max(map(len, owned))
    return np.array([np.pad(one, (0, width - len(one)), constant_values=np.nan) for one in owned])
