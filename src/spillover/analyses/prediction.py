"""Predict each question's score after fine-tuning from the model's activations before it (docs/method.md, section 2b).

Knows scores and activations. Rows are questions in their answer formats; targets are centred within format, so that
telling formats apart predicts nothing; folds never split a family of questions (or a category). Every layer, pooling
and target is tested under the same permutations of whole families, and corrected over all of them by max-T.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, refuse_same_weights, same_model
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.prediction_features import FeatureSet, FeatureSource, Places, baselines, sentences, words
from spillover.analyses.prediction_section import show_prediction
from spillover.analyses.prediction_targets import SPREAD, Targets, centred_answers, level, within
from spillover.analyses.scores import Scores, questions_of, read, refuse_unlike
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.arrays import Floats, Ints
from spillover.maths.cross_validation import (
    CrossValidation,
    Fitter,
    corrected_difference,
    corrected_interval,
    cross_validate,
    grouped_folds,
    permuted_scores,
)
from spillover.maths.multiplicity import max_t
from spillover.maths.permutation import exceedance, permutations
from spillover.maths.regression import Lasso, Ridge
from spillover.maths.reliability import split_half
from spillover.records import read_table
from spillover.store import BuildContext

MODELS: dict[str, Fitter] = {"ridge": Ridge(inner="gcv"), "linear": Ridge((0.0,)), "lasso": Lasso()}


class Prediction(Analysis):
    """How well a linear model on activations before training predicts each question's score after it, by layer."""

    activations: Activations  # of the model before, for the questions asked
    before: ScoredAnswers  # for the baseline that knows the prior's own score
    after: ScoredAnswers
    metric: str = "aligned"
    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=4, ge=1)
    permutations: int = Field(default=199, ge=19)
    every: int = Field(default=1, ge=1)  # layers looked at: every so many, the last one always
    seed: int = 0
    targets: tuple[str, ...] = ()  # metrics, or "METRIC sd"; none: the mean of `metric`
    features: tuple[FeatureSet, ...] = ("raw",)
    model: Literal["ridge", "linear", "lasso"] = "ridge"
    grouped_by: Literal["family", "category"] = "family"  # what no fold may split
    components: int = Field(default=150, ge=1)  # axes of the feature sets pca and random
    draws: int = Field(default=100, ge=1)  # of random axes
    training: Activations | None = None  # of the same model, for the axes of pca
    against: tuple[Activations, ...] = ()  # of other models, compared fold by fold
    transfer: tuple[ScoredAnswers, ...] = ()  # other organisms, predicted by the model fitted to `after`
    prompt_words: bool = False  # a baseline of the prompts' words
    sentences: str = ""  # a sentence-transformers model on this machine: its embedding as a baseline

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not {"raw", "pca"} & set(self.features):
            raise ValueError(f"features {self.features} hold no activations to test, only controls: add 'raw' or 'pca'")
        if "pca" in self.features and self.training is None:
            raise ValueError("features 'pca' are axes of the training prompts: pass their activations as `training`")
        if self.against and "raw" not in self.features:
            raise ValueError("models are compared by their activations as they are: add 'raw' to the features")
        if self.training is not None and not same_model(self.training.model, self.activations.model):
            raise ValueError("training and activations must be of one model")
        models = [one.model for one in (self.activations, *self.against)]
        for index, other in enumerate(models):
            for one in models[:index]:
                if same_model(one, other):
                    raise ValueError(
                        f"{one.label()} and {other.label()} are the same model under two names: comparing its "
                        f"activations with themselves shows nothing; pass those of another model"
                    )
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike((self.before, self.after, *self.transfer), self.allow_unlike_judges)
        compared = (self.activations, *self.against)
        for index, other in enumerate(compared):
            for one in compared[:index]:
                refuse_same_weights(one, other, context.store)
        folder = context.path(self.activations)
        prompts = {row["prompt_id"]: row for row in read_table(folder / "prompts.parquet").to_pylist()}
        before, after = read(self.before, context.store), read(self.after, context.store)
        data = self._targets(after, prompts)
        rows = np.array([prompts[name]["row"] for name in data.names])
        places = Places(folder, rows, self.every, context.path(self.training) if self.training else None)
        sources = self._sources(places, before, prompts, data)
        table, fits, null = [], [], []
        for done, (source, x) in enumerate(sources, start=1):
            fit = cross_validate(x, data.y, data.folds, MODELS[self.model], data.groups)
            drawn = permuted_scores(x, data.y, data.folds, data.orders, MODELS[self.model], data.groups).skill
            for index, target in enumerate(data.targets):
                score = {"skill": float(drawn[index, 0]), "rmse": float(fit.rmse[index].mean())}
                table.append({**source, "target": target, **fit.score(index).as_row(), **score})
                null.append(drawn[index])
            fits.append(({**source, "model": self.activations.model.label()}, fit))
            context.progress(done / len(sources))
        _test(table, np.array(null))
        tables = {"layers": table}
        if "random" in self.features:
            tables["random"] = self._random(places, data, table)
        if self.against:
            tables["against"] = self._against(fits, data, context)
        if self.transfer:
            tables["transfer"] = self._transfer(fits, data, context)
        return AnalysisResult(tables, self._facts(after, data))

    def show(self, result: AnalysisResult) -> Section:
        return show_prediction(result)

    def _facts(self, after: Scores, data: Targets) -> dict[str, Any]:
        metric = data.targets[0].removesuffix(SPREAD)
        mean = not data.targets[0].endswith(SPREAD)
        return {
            "model": self.activations.model.label(),
            "target": after.label,
            "metric": data.targets[0],
            "targets": len(data.targets),
            "fitted": self.model,
            "grouped_by": self.grouped_by,
            "attainable_r2": split_half(centred_answers(after, data.names, metric)).value if mean else None,
            "rows": len(data.names),
            "families": len(set(data.families.tolist())),
        }

    def _targets(self, after: Scores, prompts: dict[str, Any]) -> Targets:
        """The questions scored in every target, with folds and row orders that all features share."""
        names, about = questions_of(after, by="question_id")
        missing = [name for name in names if name not in prompts]
        if missing:
            raise ValueError(
                f"no activations of {missing[0]} and {len(missing) - 1} more questions: the scores are of "
                f"{self.after.conditions()['questions'].describe()!r}, the activations of "
                f"{self.activations.prompts.summary()!r}; capture what is asked"
            )
        targets = self.targets or (self.metric,)
        y = np.column_stack([level(after, target, names) for target in targets])
        scored = np.asarray(~np.isnan(y).any(axis=1))
        names = [names[index] for index in np.flatnonzero(scored)]
        families, formats, categories = (
            np.array([about[name][field] for name in names]) for field in ("family", "format", "category")
        )
        groups = families if self.grouped_by == "family" else categories
        orders = permutations(len(names), self.permutations, self.seed, families)
        return Targets(
            names,
            about,
            targets,
            np.column_stack([within(column, formats) for column in y[scored].T]),
            families,
            formats,
            groups,
            grouped_folds(groups, self.folds, self.repeats, self.seed),
            np.concatenate([np.arange(len(names), dtype=np.int64)[None], orders]),
        )

    def _sources(self, places: Places, before: Scores, prompts: dict[str, Any], data: Targets) -> list[FeatureSource]:
        found: list[FeatureSource] = []
        for kind in ("raw", "pca"):
            for layer, pooling in places.there() if kind in self.features else ():
                x = places.raw(layer, pooling) if kind == "raw" else places.pca(layer, pooling, self.components)
                name = "activations" if kind == "raw" else "activations, principal axes"
                found.append(({"features": name, "layer": layer, "pooling": pooling}, x))
        metric = data.targets[0].removesuffix(SPREAD)
        found += baselines(before, data.names, data.about, prompts, metric, lambda v: within(v, data.formats))
        if self.prompt_words:
            found.append(words(data.names, prompts))
        embedded = sentences(data.names, prompts, self.sentences) if self.sentences else None
        return [*found, *((embedded,) if embedded else ())]

    def _random(self, places: Places, data: Targets, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """R2 of many draws of random axes at each place, and the rank of the principal axes' R2 among them."""
        rng, rows = np.random.default_rng(self.seed), []
        for layer, pooling in places.there():
            drawn = np.array(
                [
                    np.nanmean(
                        cross_validate(
                            places.random(layer, pooling, self.components, rng),
                            data.y,
                            data.folds,
                            MODELS[self.model],
                            data.groups,
                        ).r2,
                        axis=(1, 2),
                    )
                    for _ in range(self.draws)
                ]
            )
            for index, target in enumerate(data.targets):
                key = {"features": "activations, principal axes", "layer": layer, "pooling": pooling, "target": target}
                mine = next((row["estimate"] for row in table if key.items() <= row.items()), None)
                p = None if mine is None else float(exceedance(np.array(mine), drawn[:, index], two_sided=False))
                low, middle, high = np.quantile(drawn[:, index], [0.025, 0.5, 0.975])
                where = {"layer": layer, "pooling": pooling, "target": target, "draws": self.draws}
                rows.append({**where, "median": float(middle), "low": float(low), "high": float(high), "p": p})
        return rows

    def _against(self, fits: list[Any], data: Targets, context: BuildContext) -> list[dict[str, Any]]:
        """R2 less that of another model's activations at the same relative depth, split by split."""
        rows = []
        for other in self.against:
            folder = context.path(other)
            known = {row["prompt_id"]: row["row"] for row in read_table(folder / "prompts.parquet").to_pylist()}
            missing = [name for name in data.names if name not in known]
            if missing:
                raise ValueError(f"no activations of {missing[0]} by {other.model.label()}; capture the same questions")
            theirs = Places(folder, np.array([known[name] for name in data.names]), 1)
            deepest = max(layer for layer, _ in theirs.there())
            own = [fit for fit in fits if fit[0]["features"] == "activations"]
            ours = max((source["layer"] for source, _ in own), default=0)
            for source, fit in own:
                layer = round(source["layer"] / max(ours, 1) * deepest)
                x = theirs.raw(layer, source["pooling"])
                rival = cross_validate(x, data.y, data.folds, MODELS[self.model], data.groups)
                for index, target in enumerate(data.targets):
                    gap = corrected_difference(fit.r2[index], rival.r2[index], fit.test_share)
                    where = {"layer": source["layer"], "pooling": source["pooling"], "target": target}
                    names = {"model": source["model"], "other": other.model.label(), "other_layer": layer}
                    rows.append({**where, **names, **gap.as_row()})
        return rows

    def _transfer(self, fits: list[Any], data: Targets, context: BuildContext) -> list[dict[str, Any]]:
        """R2 of predictions fitted to one organism's scores, held against another's, on held-out questions."""
        rows = []
        for one in self.transfer:
            scores = read(one, context.store)
            for index, target in enumerate(data.targets):
                truth = within(level(scores, target, data.names), data.formats)
                for source, fit in fits:
                    r2 = _r2(fit, index, truth, data.folds)
                    row = corrected_interval(r2, fit.test_share).as_row()
                    own = {"r2_own": fit.score(index).estimate}
                    named = {name: source[name] for name in ("features", "layer", "pooling")}
                    rows.append({**named, "target": target, "organism": scores.label, **row, **own})
        return rows


def _test(table: list[dict[str, Any]], skills: Floats) -> None:
    """One-sided permutation p of every row; q by max-T over all layers, poolings and targets of a feature set.

    A baseline is corrected over its targets.
    """
    observed, drawn = skills[:, 0], skills[:, 1:]
    names = np.array([row["features"] for row in table])
    for name in dict.fromkeys(names.tolist()):
        looked = np.flatnonzero(names == name)
        adjusted = max_t(observed[looked], drawn[looked].T, two_sided=False)
        alone = exceedance(observed[looked], drawn[looked], two_sided=False)
        for index, p, q in zip(looked.tolist(), alone, adjusted, strict=True):
            table[index] |= {"p": float(p), "q": float(q)}


def _r2(fit: CrossValidation, index: int, truth: Floats, folds: Ints) -> Floats:
    """R2 of a target's out-of-fold predictions against other scores, split by split; NaN where those do not vary."""
    scores = np.full((len(folds), int(folds.max()) + 1), np.nan)
    for repeat, row in enumerate(folds):
        for fold in range(scores.shape[1]):
            held = (row == fold) & ~np.isnan(truth)
            total = float(((truth[held] - truth[held].mean()) ** 2).sum()) if held.sum() > 1 else 0.0
            if total > 0:
                scores[repeat, fold] = 1 - ((truth[held] - fit.predicted[index, repeat, held]) ** 2).sum() / total
    return scores
