"""Model priors: each question's score after fine-tuning, predicted from the model's activations before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, refuse_same_weights, same_model
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import (
    Column,
    Figure,
    Number,
    Section,
    Table,
    columns,
    interval_text,
    number,
    paragraph,
)
from spillover.analyses.figures import SERIES, band, legend, zero_line
from spillover.analyses.prediction_data import (
    POOLINGS,
    SPREAD,
    ActivationFeatures,
    FeatureSet,
    FeatureSource,
    PredictionTargets,
    baselines,
    target_values,
    text_baselines,
)
from spillover.analyses.rows import TableRow, TableRows, row_where, rows_where
from spillover.analyses.scores import AnswerScores, less_format_mean, read_scores, refuse_unlike_scores
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MODELS: dict[str, Fitter] = {"ridge": Ridge(inner="gcv"), "linear": Ridge((0.0,)), "lasso": Lasso()}
FITTED = {"ridge": "Ridge regression", "linear": "Least squares", "lasso": "Lasso"}
GROUPS = {"family": "families", "category": "categories"}
RAW, PCA = "activations", "activations, principal axes"  # names of features in tables
Fit = tuple[TableRow, CrossValidation]  # of what features, and how well


class Prediction(Analysis):
    """How well a linear model on activations before training predicts each question's score after it, by layer.

    Rows are questions in their answer formats; targets are centred within format, so that telling formats apart
    predicts nothing; folds never split a family of questions (or a category). Estimates R2 on questions held out, mean
    over the folds of all repeats, with Nadeau-Bengio 95% intervals, and the skill (1 less the squared error over that
    of the training mean), tested under the same permutations of whole families at every layer, pooling and target
    and corrected over all of them by max-T; beside baselines that need no activations and the R2 that noise in the
    scores allows (docs/method.md, section 2b).
    """

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
        for first, second in combinations((self.activations, *self.against), 2):
            if same_model(first.model, second.model):
                raise ValueError(
                    f"{first.model.label()} and {second.model.label()} are the same model under two names: comparing "
                    "its activations with themselves shows nothing; pass those of another model"
                )
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike_scores((self.before, self.after, *self.transfer), self.allow_unlike_judges)
        for first, second in combinations((self.activations, *self.against), 2):
            refuse_same_weights(first, second, context.store)
        folder = context.path(self.activations)
        prompts = {row["prompt_id"]: row for row in read_table(folder / "prompts.parquet").to_pylist()}
        before, after = read_scores(self.before, context.store), read_scores(self.after, context.store)
        data = self._targets(after, prompts)
        training = context.path(self.training) if self.training else None
        inside = ActivationFeatures(
            folder, np.array([prompts[name]["row"] for name in data.names]), self.every, training
        )
        sources = list(self._sources(inside, before, prompts, data))
        rows: TableRows = []
        fits: list[Fit] = []
        skills = []
        for done, (source, x) in enumerate(sources, start=1):
            fit = self._fit(x, data)
            drawn = permuted_scores(x, data.y, data.folds, data.orders, MODELS[self.model], data.groups).skill
            for index, target in enumerate(data.targets):
                score = {"skill": float(drawn[index, 0]), "rmse": float(fit.rmse[index].mean())}
                rows.append({**source, "target": target, **fit.score(index).as_row(), **score})
                skills.append(drawn[index])
            fits.append((source, fit))
            context.progress(done / len(sources))
        _test(rows, np.array(skills))
        tables = {"layers": rows}
        if "random" in self.features:
            tables["random"] = self._random(inside, data, rows)
        if self.against:
            tables["against"] = self._against(fits, data, context)
        if self.transfer:
            tables["transfer"] = self._transfer(fits, data, context)
        return AnalysisResult(tables, self._facts(after, data))

    def _facts(self, after: AnswerScores, data: PredictionTargets) -> TableRow:
        noise = None
        if not data.targets[0].endswith(SPREAD):
            noise = split_half(after.centred(data.metric, data.names, by="question_id")).value
        return {
            "model": self.activations.model.label(),
            "target": after.label,
            "metric": data.targets[0],
            "targets": len(data.targets),
            "fitted": self.model,
            "grouped_by": self.grouped_by,
            "attainable_r2": noise,
            "rows": len(data.names),
            "families": len(set(data.labels("family").tolist())),
        }

    def _targets(self, after: AnswerScores, prompts: Mapping[str, TableRow]) -> PredictionTargets:
        """The questions scored in every target, with folds and row orders that all features share."""
        about = after.questions(by="question_id")
        missing = [name for name in about if name not in prompts]
        if missing:
            raise ValueError(
                f"no activations of {missing[0]} and {len(missing) - 1} more questions: the scores are of "
                f"{self.after.conditions()['questions'].describe()!r}, the activations of "
                f"{self.activations.prompts.summary()!r}; capture what is asked"
            )
        targets = self.targets or (self.metric,)
        y = np.column_stack([target_values(after, target, list(about)) for target in targets])
        scored = np.asarray(~np.isnan(y).any(axis=1))
        about = {name: question for (name, question), complete in zip(about.items(), scored, strict=True) if complete}
        families, formats, groups = (
            np.array([question[kind] for question in about.values()]) for kind in ("family", "format", self.grouped_by)
        )
        orders = permutations(len(about), self.permutations, self.seed, families)
        return PredictionTargets(
            about,
            targets,
            np.column_stack([less_format_mean(column, formats) for column in y[scored].T]),
            groups,
            grouped_folds(groups, self.folds, self.repeats, self.seed),
            np.concatenate([np.arange(len(about), dtype=np.int64)[None], orders]),
        )

    def _sources(
        self, inside: ActivationFeatures, before: AnswerScores, prompts: Mapping[str, TableRow], data: PredictionTargets
    ) -> Iterator[FeatureSource]:
        for kind, name in (("raw", RAW), ("pca", PCA)):
            for layer, pooling in inside.places() if kind in self.features else ():
                x = inside.raw(layer, pooling) if kind == "raw" else inside.pca(layer, pooling, self.components)
                yield {"features": name, "layer": layer, "pooling": pooling}, x
        yield from baselines(before, data, prompts)
        yield from text_baselines([prompts[name]["prompt"] for name in data.names], self.prompt_words, self.sentences)

    def _fit(self, x: Floats, data: PredictionTargets) -> CrossValidation:
        return cross_validate(x, data.y, data.folds, MODELS[self.model], data.groups)

    def _random(self, inside: ActivationFeatures, data: PredictionTargets, rows: TableRows) -> TableRows:
        """R2 of many draws of random axes at each place, and the rank of the principal axes' R2 among them."""
        rng, random = np.random.default_rng(self.seed), []
        for layer, pooling in inside.places():
            fits = (self._fit(inside.random(layer, pooling, self.components, rng), data) for _ in range(self.draws))
            drawn = np.array([np.nanmean(fit.r2, axis=(1, 2)) for fit in fits])
            for index, target in enumerate(data.targets):
                place = {"layer": layer, "pooling": pooling, "target": target}
                r2 = row_where(rows, features=PCA, **place)["estimate"]
                p = None if r2 is None else float(exceedance(np.array(r2), drawn[:, index], two_sided=False))
                low, middle, high = (float(end) for end in np.quantile(drawn[:, index], [0.025, 0.5, 0.975]))
                random.append({**place, "draws": self.draws, "median": middle, "low": low, "high": high, "p": p})
        return random

    def _against(self, fits: list[Fit], data: PredictionTargets, context: BuildContext) -> TableRows:
        """R2 less that of another model's activations at the same relative depth, split by split."""
        rows: TableRows = []
        for other in self.against:
            folder = context.path(other)
            known = {row["prompt_id"]: row["row"] for row in read_table(folder / "prompts.parquet").to_pylist()}
            missing = [name for name in data.names if name not in known]
            if missing:
                raise ValueError(f"no activations of {missing[0]} by {other.model.label()}; capture the same questions")
            theirs = ActivationFeatures(folder, np.array([known[name] for name in data.names]), 1)
            deepest = max(layer for layer, _ in theirs.places())
            own = [(source, fit) for source, fit in fits if source["features"] == RAW]
            ours = max(source["layer"] for source, _ in own)
            for source, fit in own:
                layer = round(source["layer"] / max(ours, 1) * deepest)
                rival = self._fit(theirs.raw(layer, source["pooling"]), data)
                for index, target in enumerate(data.targets):
                    gap = corrected_difference(fit.r2[index], rival.r2[index], fit.test_share)
                    place = {"layer": source["layer"], "pooling": source["pooling"], "target": target}
                    models = {"model": self.activations.model.label(), "other": other.model.label()}
                    rows.append({**place, **models, "other_layer": layer, **gap.as_row()})
        return rows

    def _transfer(self, fits: list[Fit], data: PredictionTargets, context: BuildContext) -> TableRows:
        """R2 of predictions fitted to one organism's scores, held against another's, on held-out questions."""
        rows = []
        for organism in self.transfer:
            scores = read_scores(organism, context.store)
            for index, target in enumerate(data.targets):
                truth = less_format_mean(target_values(scores, target, data.names), data.labels("format"))
                for source, fit in fits:
                    r2 = corrected_interval(_r2(fit, index, truth, data.folds), fit.test_share)
                    own = {"r2_own": fit.score(index).estimate}
                    rows.append({**source, "target": target, "organism": scores.label, **r2.as_row(), **own})
        return rows

    def show(self, result: AnalysisResult) -> Section:
        rows, facts = result.tables["layers"], result.facts
        inside = [row for row in rows if row["features"].startswith(RAW)]
        by_skill = sorted(inside, key=lambda row: -row["skill"])
        best, several = by_skill[0], facts["targets"] > 1
        clear = sum(row["q"] < 0.05 for row in inside)
        return Section(
            "Model priors: predicted from activations before training",
            f"Do the activations of {facts['model']} before training foretell which questions {facts['target']} "
            "answers badly?",
            (
                paragraph(
                    "{fitted}, {rows} prompts in {families} families, targets centred within answer format, {groups} "
                    "never split across folds. {clear} layer{places} predict better than chance (permutation of whole "
                    "families, max-T over all of them at 5%). The best is {best}, picked as the best of {tested} and "
                    "so flattered; {allowed}",
                    fitted=FITTED[facts["fitted"]],
                    rows=facts["rows"],
                    families=facts["families"],
                    groups=GROUPS[facts["grouped_by"]],
                    clear=Number(f"{clear} of {len(inside)}", "layers"),
                    places=", pooling and target triples" if several else " and pooling pairs",
                    best=Number(
                        f"layer {best['layer']}, {best['pooling']}: R\u00b2 {interval_text(best, 'r')}", "layers"
                    ),
                    tested=len(inside),
                    allowed=_allowed(facts),
                ),
                Figure(
                    "r2",
                    "Out-of-fold R\u00b2 by layer with Nadeau-Bengio 95% intervals; dashed lines are baselines that "
                    "need no activations. Below 0 is worse than predicting the mean.",
                    lambda canvas: _draw(canvas, rows_where(rows, target=rows[0]["target"])),
                    "layers",
                    (8, 3.4),
                ),
                Table(
                    "layers",
                    "The baselines, and the five layers with the highest skill.",
                    (
                        *(Column("features", "features"), *((Column("target", "target"),) if several else ())),
                        *(Column("layer", "layer", "count"), Column("pooling", "pooling")),
                        Column("estimate", "R\u00b2 [95%]", "r", interval=True),
                        *(Column("skill", "skill", "r"), *columns("p", p="p", q="p, max-T")),
                    ),
                    [row for row in rows if row not in inside] + by_skill[:5],
                ),
                *_more(result),
            ),
        )


def _test(rows: TableRows, skills: Floats) -> None:
    """One-sided permutation p of every row; q by max-T over all layers, poolings and targets of a feature set.

    A baseline is corrected over its targets. skills: (rows, 1 + permutations), the observed one first.
    """
    observed, drawn = skills[:, 0], skills[:, 1:]
    names = np.array([row["features"] for row in rows])
    for name in dict.fromkeys(names.tolist()):
        tested = np.flatnonzero(names == name)
        adjusted = max_t(observed[tested], drawn[tested].T, two_sided=False)
        alone = exceedance(observed[tested], drawn[tested], two_sided=False)
        for index, p, q in zip(tested.tolist(), alone, adjusted, strict=True):
            rows[index] |= {"p": float(p), "q": float(q)}


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


def _more(result: AnalysisResult) -> Iterator[Table]:
    """Tables of what was asked for beside layers and baselines."""
    place = (Column("layer", "layer", "count"), *columns("text", pooling="pooling", target="target"))
    p = Column("p", "p", "p")
    about: dict[str, tuple[str, tuple[Column, ...]]] = {
        "random": (
            "R\u00b2 of random axes over many draws, and the share of draws that reach that of the principal axes.",
            (*place, Column("median", "median R\u00b2", "r"), Column("shown", "R\u00b2, 95% of draws"), p),
        ),
        "against": (
            "R\u00b2 less that of another model's activations at the same relative depth, split by split, with the "
            "Nadeau-Bengio interval. Whether it is 0 is tested place by place, uncorrected.",
            (*place, Column("other", "other model"), Column("shown", "difference [95%]"), p),
        ),
        "transfer": (
            "R\u00b2 of predictions fitted to one organism's scores, held against another's, on questions held out.",
            (
                *(Column("features", "features"), *place, Column("organism", "organism")),
                *(Column("shown", "R\u00b2 [95%]"), Column("r2_own", "its own", "r")),
            ),
        ),
    }
    for name, (caption, shown) in about.items():
        if rows := result.tables.get(name):
            texts = (interval_text({"estimate": row.get("median"), **row}, "r") for row in rows)
            yield Table(name, caption, shown, [row | {"shown": text} for row, text in zip(rows, texts, strict=True)])


def _allowed(facts: Mapping[str, float | None]) -> tuple[str | Number, ...]:
    """What noise in the questions' means leaves to be predicted; nothing where two halves of the answers disagree."""
    attainable = facts["attainable_r2"]
    value = number(dict(facts), "layers", "r", "attainable_r2")
    if attainable is None or attainable <= 0:
        return (
            "two halves of the answers do not agree on which questions score low (attainable R\u00b2 ",
            value,
            "): with so few answers to a question there is nothing here that could be foretold. Raise per_question.",
        )
    return "noise in the scores allows about ", value, "."


def _draw(canvas: Canvas, rows: TableRows) -> None:
    axes = canvas.subplots()
    floor, first = 0.0, rows[0]["features"]
    for index, (pooling, label) in enumerate(zip(POOLINGS, ("last token", "mean"), strict=True)):
        along = rows_where(rows, pooling=pooling, features=first)
        band(axes, "layer", along, SERIES[index], label)
        floor = min([floor, *(row["estimate"] for row in along if row["estimate"] is not None)])
    for index, row in enumerate(rows_where(rows, layer=None)):
        if row["estimate"] is not None:
            axes.axhline(row["estimate"], linestyle="--", linewidth=1, color=SERIES[index + 2], label=row["features"])
    zero_line(axes)
    axes.set_ylim(max(-1.5, floor - 0.6), 1.0)
    axes.set(xlabel="layer", ylabel="R\u00b2")
    legend(axes, ncols=3)
