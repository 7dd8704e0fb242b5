"""Data: how the training prompts' activation shift carries to evaluation prompts (docs/method.md, section 3).

Knows activations before and after. The claim tested at every layer and pooling: evaluation prompts that lie within the
space of the training prompts before training shift more like them.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import (
    Activations,
    layers,
    read_activations,
    refuse_same_weights,
    same_model,
)
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.geometry_section import show_geometry
from spillover.analyses.geometry_sweep import by_prompt, sweep
from spillover.analyses.text_similarity import sentences_alike, words_alike
from spillover.maths.arrays import Floats
from spillover.maths.correlation import partial, pearson, permuted_partial
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import max_t
from spillover.maths.permutation import exceedance, permutations
from spillover.maths.shift import deltas, linear_cka, relative_shift, set_shift, shift_projection, shift_similarity
from spillover.maths.subspaces import Axes, evaluation_control, overlap, principal_axes, random_control
from spillover.records import read_table
from spillover.store import BuildContext

POOLINGS = ("last", "mean")


class Geometry(Analysis):
    """Whether prompts that overlap the training prompts before training shift like them, at every layer."""

    training_before: Activations
    evaluation_before: Activations
    training_after: tuple[Activations, ...]
    evaluation_after: tuple[Activations, ...]  # of the same models in the same order
    variance: float = Field(default=0.95, gt=0, le=1)  # the share that the training prompts' axes hold
    random_draws: int = Field(default=200, ge=19)
    permutations: int = Field(default=499, ge=19)
    every: int = Field(default=1, ge=1)  # layers looked at: every so many, the last one always
    seed: int = 0
    sentences: str = ""  # a sentence-transformers model on this machine: likeness of prompts by its embedding
    ks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)  # numbers of axes swept, beside 80, 90 and 95% of variance

    @model_validator(mode="after")
    def _paired(self) -> Self:
        left, right = ([one.model for one in side] for side in (self.training_after, self.evaluation_after))
        if left != right or not left:
            raise ValueError("training_after and evaluation_after must be of the same models in the same order")
        if self.training_before.model != self.evaluation_before.model:
            raise ValueError("training_before and evaluation_before must be of one model")
        if any(same_model(model, self.training_before.model) for model in left):
            raise ValueError(f"{self.training_before.model.label()} is given as before and as after: nothing can shift")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        for after in self.evaluation_after:
            refuse_same_weights(self.evaluation_before, after, context.store)
        folder = context.path(self.evaluation_before)
        prompts = read_table(folder / "prompts.parquet").to_pylist()
        looked = [layer for layer in layers(folder) if layer % self.every == 0 or layer == layers(folder)[-1]]
        cells = [(layer, pooling) for pooling in POOLINGS for layer in looked]
        rows: list[dict[str, Any]] = []
        per_prompt: list[dict[str, Any]] = []
        permuted: list[Floats] = []
        swept: list[dict[str, Any]] = []
        texts = self._texts_alike(context)
        orders = permutations(len(prompts), self.permutations, self.seed, [row["family"] for row in prompts])
        for done, (layer, pooling) in enumerate(cells, start=1):
            found = self._cell(context, layer, pooling, prompts, orders, texts)
            rows += [row for row, _, _, _ in found]
            per_prompt += [row for _, some, _, _ in found for row in some]
            permuted += [drawn for _, _, drawn, _ in found]
            swept += [row for _, _, _, some in found for row in some]
            context.progress(done / len(cells))
        for model in dict.fromkeys(row["model"] for row in rows):
            mine = [index for index, row in enumerate(rows) if row["model"] == model]
            observed = np.array([rows[index]["partial"] for index in mine], dtype=float)
            for index, q in zip(mine, max_t(observed, np.array([permuted[i] for i in mine]).T), strict=True):
                rows[index]["partial_q"] = float(q)
        facts = {"layers": looked, "middle": looked[len(looked) // 2], "variance": self.variance}
        return AnalysisResult({"layers": rows, "prompts": per_prompt, "sweep": swept}, facts)

    def show(self, result: AnalysisResult) -> Section:
        return show_geometry(result)

    def _cell(
        self,
        context: BuildContext,
        layer: int,
        pooling: str,
        prompts: list[dict[str, Any]],
        orders: np.ndarray,
        texts: dict[str, Floats],
    ) -> list[tuple[dict[str, Any], list[dict[str, Any]], Floats, list[dict[str, Any]]]]:
        """One layer and pooling: for every model after, its row, its prompts' rows, permuted partial r and sweep."""
        site = f"resid_post.{layer:02d}"
        training, evaluation = (
            read_activations(context.path(one), site, pooling).astype(np.float64)
            for one in (self.training_before, self.evaluation_before)
        )
        axes = principal_axes(training, variance=self.variance)
        controls = self._controls(training, evaluation, axes, prompts)
        found = []
        for after_training, after_evaluation in zip(self.training_after, self.evaluation_after, strict=True):
            shift = deltas(training, read_activations(context.path(after_training), site, pooling))
            delta = deltas(evaluation, read_activations(context.path(after_evaluation), site, pooling))
            model = after_evaluation.model.label()
            where = {"model": model, "layer": layer, "pooling": pooling}
            similarity = shift_similarity(delta, shift)
            row = where | self._row(controls, similarity, evaluation, delta, shift, axes, prompts)
            row |= _baselines(texts, similarity, [prompt["family"] for prompt in prompts])
            spread = {
                "shift_similarity": similarity,
                "shift_projection": shift_projection(delta, shift),
                "relative_shift": relative_shift(delta, evaluation),
                "overlap": controls["overlap"],
                "random_control": controls["random"].mean(axis=0),
                "evaluation_control": controls["evaluation"],
                **texts,
                **by_prompt(evaluation, delta, axes, principal_axes(shift, variance=self.variance)),
            }
            some = [
                where
                | {name: prompt[name] for name in ("prompt_id", "question", "category", "format")}
                | {name: float(values[index]) for name, values in spread.items()}
                for index, prompt in enumerate(prompts)
            ]
            drawn = permuted_partial(controls["overlap"], similarity, controls["covariates"], orders)[1]
            pairs = {"prompts": (training, evaluation), "shifts": (shift, delta)}
            swept = [
                where | {"of": name} | one
                for name, (fitted, looked) in pairs.items()
                for one in sweep(fitted, looked, similarity, self.ks)
            ]
            found.append((row, some, drawn, swept))
        return found

    def _texts_alike(self, context: BuildContext) -> dict[str, Floats]:
        """How alike each evaluation prompt (n,) is to the training prompts by its text alone, one way or two."""
        training, evaluation = (
            [" ".join(message.content for message in prompt.messages) for prompt in one.prompts.texts(context.store)]
            for one in (self.training_before, self.evaluation_before)
        )
        found = {"words_alike": words_alike(training, evaluation)}
        if self.sentences and (embedded := sentences_alike(training, evaluation, self.sentences)) is not None:
            found["sentences_alike"] = embedded
        return found

    def _controls(
        self, training: Floats, evaluation: Floats, axes: Axes, prompts: list[dict[str, Any]]
    ) -> dict[str, Floats]:
        rng = np.random.default_rng(self.seed)
        families = [row["family"] for row in prompts]
        k = min(axes.k, len(evaluation) // 2)
        return {
            "overlap": overlap(evaluation, axes),
            "random": random_control(evaluation, axes, self.random_draws, rng),
            "evaluation": evaluation_control(evaluation, k, families),
            "own": overlap(training, axes),
            "covariates": _covariates(evaluation, prompts),
        }

    def _row(
        self,
        controls: dict[str, Floats],
        similarity: Floats,
        evaluation: Floats,
        delta: Floats,
        shift: Floats,
        axes: Axes,
        prompts: list[dict[str, Any]],
    ) -> dict[str, Any]:
        families = [row["family"] for row in prompts]
        r = pearson(controls["overlap"], similarity, families, Resampling(999))
        given = partial(controls["overlap"], similarity, controls["covariates"], families, Resampling(999))
        drawn = _correlations(similarity, controls["random"])
        whole = set_shift(delta, shift)
        return {
            "k": axes.k,
            "overlap": float(np.nanmean(controls["overlap"])),
            "random_overlap": float(np.nanmean(controls["random"])),
            "evaluation_overlap": float(np.nanmean(controls["evaluation"])),
            "similarity": float(np.nanmean(similarity)),
            **r.as_row(),
            "partial": given.estimate,
            "partial_low": given.low,
            "partial_high": given.high,
            "partial_p": given.p,
            "random_r": float(np.nanmean(drawn)),
            "random_p": float(exceedance(np.array(r.estimate), drawn)),
            "cosine_of_means": whole.cosine_of_means,
            "cosine_of_mean_units": whole.cosine_of_mean_units,
            "relative_norm": whole.relative_norm,
            "cka_before_after": linear_cka(evaluation, evaluation + delta),
        }


def _baselines(texts: dict[str, Floats], similarity: Floats, families: list[str]) -> dict[str, Any]:
    """What the likeness of texts alone says of the shifts: r with shift similarity, and its interval."""
    found: dict[str, Any] = {}
    for name, alike in texts.items():
        r = pearson(alike, similarity, families, Resampling(999))
        found |= {f"{name}_r": r.estimate, f"{name}_low": r.low, f"{name}_high": r.high, f"{name}_p": r.p}
    return found


def _covariates(evaluation: Floats, prompts: list[dict[str, Any]]) -> Floats:
    """Activation norm, log prompt length, answer format: what could make the correlation for no deep reason."""
    formats = np.array([row["format"] for row in prompts])
    dummies = [(formats == one).astype(float) for one in np.unique(formats)[1:]]
    length = np.log([row["prompt_tokens"] for row in prompts])
    return np.column_stack([np.linalg.norm(evaluation, axis=1), length, *dummies])


def _correlations(fixed: Floats, many: Floats) -> Floats:
    """Pearson r of (n,) with each row of (draws, n)."""
    a = fixed - fixed.mean()
    b = many - many.mean(axis=1, keepdims=True)
    bottom = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    return np.asarray(np.divide(b @ a, bottom, out=np.full(len(b), np.nan), where=bottom > 0))
