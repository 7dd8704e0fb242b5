"""Data: how the training prompts' activation shift carries over to evaluation prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import (
    Activations,
    captured_layers,
    read_activations,
    refuse_same_weights,
    same_model,
)
from spillover.activations.sites import layer_site
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import (
    Column,
    Figure,
    Number,
    Paragraph,
    Section,
    Table,
    columns,
    number,
    paragraph,
    value_text,
)
from spillover.analyses.figures import band, coloured, dots, grid, legend, plot, zero_line
from spillover.analyses.prompt_texts import sentences_alike, words_alike
from spillover.analyses.rows import TableRow, TableRows, grouped, prefixed, row_where, rows_where
from spillover.maths import subspaces
from spillover.maths.arrays import Floats
from spillover.maths.correlation import partial, pearson, permuted_partial
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import max_t
from spillover.maths.permutation import exceedance, permutations
from spillover.maths.shift import deltas, linear_cka, relative_shift, set_shift, shift_projection, shift_similarity
from spillover.records import read_table
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PromptColumns = dict[str, Floats]  # (n,) by name, over evaluation prompts
POOLINGS = {"last": "last prompt token", "mean": "mean over the prompt"}
SHARES = (0.8, 0.9, 0.95)  # of the training rows' variance, beside the numbers of axes asked for
RESAMPLING = Resampling(999)


class Geometry(Analysis):
    """Whether prompts that overlap the training prompts before training shift like them, at every layer.

    Estimates, at every layer and pooling, over evaluation prompts, Pearson r of prompt overlap with shift similarity.
    Overlap: the share of a prompt's length that lies in the principal axes of the training prompts' activations before
    training. Shift similarity: the cosine of a prompt's shift with the training prompts' mean shift. Beside it: the
    partial r given activation norm, prompt length and answer format (its p by Freedman and Lane's permutation of whole
    families of questions, corrected by max-T over the layers and poolings of one model), the same r with random axes
    and with axes of other evaluation prompts, and what the prompts' words alone say. Intervals are 95%, jackknife over
    families on Fisher's z (docs/method.md, section 3).
    """

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
        left, right = ([after.model for after in side] for side in (self.training_after, self.evaluation_after))
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
        families = [row["family"] for row in prompts]
        layers = captured_layers(folder)
        chosen = [layer for layer in layers if layer % self.every == 0 or layer == layers[-1]]
        cells = [(layer, pooling) for pooling in POOLINGS for layer in chosen]
        tables: dict[str, TableRows] = {"layers": [], "prompts": [], "sweep": []}
        permuted: list[Floats] = []
        texts = self._texts_alike(context)
        orders = permutations(len(prompts), self.permutations, self.seed, families)
        for done, (layer, pooling) in enumerate(cells, start=1):
            start = self._before(context, layer, pooling, prompts)
            for pair in zip(self.training_after, self.evaluation_after, strict=True):
                place = {"model": pair[1].model.label(), "layer": layer, "pooling": pooling}
                shift, delta = (
                    deltas(before, read_activations(context.path(side), layer_site(layer), pooling))
                    for before, side in zip((start.training, start.evaluation), pair, strict=True)
                )
                similarity = shift_similarity(delta, shift)
                row = start.row(delta, shift, families) | text_columns(texts, similarity, families)
                tables["layers"].append(place | row)
                values = start.by_prompt(delta, shift, subspaces.principal_axes(shift, variance=self.variance), texts)
                tables["prompts"] += [place | row for row in _prompt_rows(prompts, values)]
                permuted.append(permuted_partial(start.overlap, similarity, start.covariates, orders)[1])
                sides = (("prompts", start.training, start.evaluation), ("shifts", shift, delta))
                for of, fitted, lying in sides:
                    tables["sweep"] += [place | {"of": of} | row for row in sweep(fitted, lying, similarity, self.ks)]
            context.progress(done / len(cells))
        _correct(tables["layers"], permuted)
        facts = {"layers": chosen, "middle": chosen[len(chosen) // 2], "variance": self.variance}
        return AnalysisResult(tables, facts)

    def _before(self, context: BuildContext, layer: int, pooling: str, prompts: TableRows) -> _Before:
        training, evaluation = (
            read_activations(context.path(side), layer_site(layer), pooling).astype(np.float64)
            for side in (self.training_before, self.evaluation_before)
        )
        axes = subspaces.principal_axes(training, variance=self.variance)
        families = [row["family"] for row in prompts]
        return _Before(
            training,
            evaluation,
            axes,
            subspaces.overlap(evaluation, axes),
            subspaces.random_control(evaluation, axes, self.random_draws, np.random.default_rng(self.seed)),
            subspaces.evaluation_control(evaluation, min(axes.k, len(evaluation) // 2), families),
            _covariates(evaluation, prompts),
        )

    def _texts_alike(self, context: BuildContext) -> PromptColumns:
        """How alike each evaluation prompt (n,) is to the training prompts by its text alone, one way or two."""
        training, evaluation = (
            [" ".join(message.content for message in prompt.messages) for prompt in side.prompts.texts(context.store)]
            for side in (self.training_before, self.evaluation_before)
        )
        alike = {"words_alike": words_alike(training, evaluation)}
        if self.sentences and (embedded := sentences_alike(training, evaluation, self.sentences)) is not None:
            alike["sentences_alike"] = embedded
        return alike

    def show(self, result: AnalysisResult) -> Section:
        rows, prompts = result.tables["layers"], result.tables["prompts"]
        middle, chosen = result.facts["middle"], result.facts["layers"]
        models = list(grouped(rows, "model"))
        shown = {layer for layer in chosen if chosen.index(layer) % 4 == 0} | {chosen[-1], middle}  # the CSV has all
        return Section(
            "Data: how the training prompts' shift carries over",
            "Do evaluation prompts that lie in the space of the training prompts before training shift like them?",
            (
                *(_sentence(model, rows, middle) for model in models),
                Figure(
                    "layers",
                    "Correlation over evaluation prompts between prompt overlap (with the training prompts' axes that "
                    f"hold {100 * result.facts['variance']:.0f}% of their variance) and shift similarity, by layer, "
                    "with 95% intervals over question families. Dotted: the same with random axes of the same number "
                    "(mean of many draws).",
                    lambda canvas: _draw_layers(canvas, rows),
                    "layers",
                    (8, 3.4),
                ),
                Figure(
                    "prompts",
                    f"The prompts behind it at layer {middle}, the middle one of those looked at, fixed beforehand; "
                    "last prompt token.",
                    lambda canvas: _draw_prompts(canvas, prompts, models, middle),
                    "prompts",
                    (8, 3.2),
                ),
                _layer_table([row for row in rows if row["pooling"] == "last" and row["layer"] in shown]),
                _sweep_table(rows_where(result.tables["sweep"], layer=middle, pooling="last"), middle),
            ),
        )


@dataclass(frozen=True, eq=False)
class _Before:
    """One layer and pooling before training: activations (prompts, d_model), and what they alone decide (n,)."""

    training: Floats
    evaluation: Floats
    axes: subspaces.Axes  # of the training prompts
    overlap: Floats
    random: Floats  # overlap with random axes: (draws, n)
    own_set: Floats  # overlap with axes of the other evaluation prompts
    covariates: Floats  # (n, c)

    def row(self, delta: Floats, shift: Floats, families: Sequence[str]) -> TableRow:
        """What is said of one model after: shifts of the evaluation prompts (n, d), of the training prompts (m, d)."""
        similarity = shift_similarity(delta, shift)
        r = pearson(self.overlap, similarity, families, RESAMPLING)
        given = partial(self.overlap, similarity, self.covariates, families, RESAMPLING)
        drawn = _correlations(similarity, self.random)
        whole = set_shift(delta, shift)
        return {
            "k": self.axes.k,
            "overlap": float(np.nanmean(self.overlap)),
            "random_overlap": float(np.nanmean(self.random)),
            "evaluation_overlap": float(np.nanmean(self.own_set)),
            "similarity": float(np.nanmean(similarity)),
            **r.as_row(),
            **prefixed("partial", given),
            "random_r": float(np.nanmean(drawn)),
            "random_p": float(exceedance(np.array(r.estimate), drawn)),
            "cosine_of_means": whole.cosine_of_means,
            "cosine_of_mean_units": whole.cosine_of_mean_units,
            "relative_norm": whole.relative_norm,
            "cka_before_after": linear_cka(self.evaluation, self.evaluation + delta),
        }

    def by_prompt(
        self, delta: Floats, shift: Floats, shift_axes: subspaces.Axes, texts: PromptColumns
    ) -> PromptColumns:
        """Columns over evaluation prompts (n,): prompts in the training prompts' axes, shifts in their shifts' axes."""
        return {
            "shift_similarity": shift_similarity(delta, shift),
            "shift_projection": shift_projection(delta, shift),
            "relative_shift": relative_shift(delta, self.evaluation),
            "overlap": self.overlap,
            "random_control": self.random.mean(axis=0),
            "evaluation_control": self.own_set,
            **texts,
            "explained_share": subspaces.explained_share(self.evaluation, self.axes),
            "mahalanobis": subspaces.mahalanobis(self.evaluation, self.axes),
            "delta_overlap": subspaces.overlap(delta, shift_axes),
            "delta_explained_share": subspaces.explained_share(delta, shift_axes),
            "delta_reconstruction_cosine": subspaces.reconstruction_cosine(delta, shift_axes),
            "delta_mahalanobis": subspaces.mahalanobis(delta, shift_axes),
        }


def sweep(training: Floats, evaluation: Floats, similarity: Floats, ks: Sequence[int]) -> TableRows:
    """For each number of axes fitted on `training` (m, d): how `evaluation` (n, d) lies in them, means over rows.

    `variance` names the share that fixed k, null where k was asked for; numbers of axes that the rows do not have are
    left out. random_explained: k / d, what random axes explain on average, exactly. r: Pearson's, of overlap with
    shift similarity (n,). shared: mean cos^2 of the principal angles with as many axes of `evaluation`, beside k / d.
    """
    whole = subspaces.principal_axes(training, variance=1.0)
    own = subspaces.principal_axes(evaluation, variance=1.0)
    total = np.cumsum(whole.variances) / whole.variances.sum()
    wanted: list[tuple[int, float | None]] = [(k, None) for k in ks if k <= whole.k]
    wanted += [(min(int(np.searchsorted(total, share - 1e-12)) + 1, whole.k), share) for share in SHARES]
    return [{"variance": share} | _sweep_row(whole.first(k), own, evaluation, similarity) for k, share in wanted]


def _sweep_row(axes: subspaces.Axes, own: subspaces.Axes, rows: Floats, similarity: Floats) -> TableRow:
    lies = subspaces.overlap(rows, axes)
    both = ~(np.isnan(lies) | np.isnan(similarity))
    varies = both.sum() > 2 and np.ptp(lies[both]) > 1e-12 and np.ptp(similarity[both]) > 1e-12
    theirs = own.first(min(axes.k, own.k)).axes
    return {
        "k": axes.k,
        "share": axes.share,
        "overlap": float(np.nanmean(lies)),
        "explained": float(np.nanmean(lies**2)),
        "random_explained": axes.k / rows.shape[1],
        "reconstruction_cosine": float(np.nanmean(subspaces.reconstruction_cosine(rows, axes))),
        "mahalanobis": float(subspaces.mahalanobis(rows, axes).mean()),
        "r": float(np.corrcoef(lies[both], similarity[both])[0, 1]) if varies else None,
        "shared": subspaces.subspace_similarity(axes.axes, theirs),
        "first_angle": float(subspaces.principal_angles(axes.axes, theirs)[0]),
    }


def text_columns(texts: PromptColumns, similarity: Floats, families: Sequence[str]) -> TableRow:
    """What the likeness of texts alone says of the shifts: r with shift similarity, and its interval."""
    row: TableRow = {}
    for name, alike in texts.items():
        r = pearson(alike, similarity, families, RESAMPLING)
        row |= {f"{name}_r": r.estimate, f"{name}_low": r.low, f"{name}_high": r.high, f"{name}_p": r.p}
    return row


def _correct(rows: TableRows, permuted: Sequence[Floats]) -> None:
    """partial_q: p of the partial r, corrected by max-T over the layers and poolings of one model."""
    for model in grouped(rows, "model"):
        own = [index for index, row in enumerate(rows) if row["model"] == model]
        observed = np.array([rows[index]["partial"] for index in own], dtype=float)
        corrected = max_t(observed, np.array([permuted[index] for index in own]).T)
        for index, p in zip(own, corrected, strict=True):
            rows[index]["partial_q"] = float(p)


def _prompt_rows(prompts: TableRows, values: PromptColumns) -> TableRows:
    return [
        {name: prompt[name] for name in ("prompt_id", "question", "category", "format")}
        | {name: float(column[index]) for name, column in values.items()}
        for index, prompt in enumerate(prompts)
    ]


def _covariates(evaluation: Floats, prompts: TableRows) -> Floats:
    """Activation norm, log prompt length, answer format: what could make the correlation for no deep reason."""
    formats = np.array([row["format"] for row in prompts])
    dummies = [(formats == name).astype(float) for name in np.unique(formats)[1:]]
    length = np.log([row["prompt_tokens"] for row in prompts])
    return np.column_stack([np.linalg.norm(evaluation, axis=1), length, *dummies])


def _correlations(fixed: Floats, many: Floats) -> Floats:
    """Pearson r of (n,) with each row of (draws, n)."""
    a = fixed - fixed.mean()
    b = many - many.mean(axis=1, keepdims=True)
    bottom = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    return np.asarray(np.divide(b @ a, bottom, out=np.full(len(b), np.nan), where=bottom > 0))


def _layer_table(rows: TableRows) -> Table:
    return Table(
        "layers",
        "Last prompt token. Overlap of evaluation prompts beside its controls: random axes of the same k, and axes of "
        "the other evaluation prompts. r as published; partial r given activation norm, prompt length and answer "
        "format, with its p by permutation of whole families, max-T over layers and poolings of one model. Words "
        "alone: r of shift similarity with the likeness of a prompt's words to the training prompts', no model asked.",
        (
            *(Column("model", "after"), *columns("count", layer="layer", k="k")),
            *columns("r", overlap="overlap", random_overlap="random", evaluation_overlap="own set"),
            *(Column("similarity", "shift similarity", "r"), Column("estimate", "r [95%]", "r", interval=True)),
            *columns("r", words_alike_r="r, words alone", partial="partial r"),
            *columns("p", partial_q="p, max-T", random_p="p, random axes"),
        ),
        rows,
    )


def _sweep_table(rows: TableRows, middle: int) -> Table:
    return Table(
        "sweep",
        f"Numbers of axes at layer {middle}, last prompt token: evaluation prompts in the training prompts' axes, and "
        "their shifts in the axes of the training prompts' shifts. Explained: share of the squared length, beside "
        "what random axes explain (k / d, exactly). Shared: mean squared cosine of the principal angles with as many "
        "axes of the evaluation prompts themselves. r: of overlap with shift similarity, without a test.",
        (
            *(*columns("text", model="after", of="of"), Column("k", "k", "count")),
            *columns("r", share="variance held", overlap="overlap", explained="explained", random_explained="random"),
            *columns("r", reconstruction_cosine="reconstruction cosine", shared="shared", r="r"),
        ),
        rows,
    )


def _sentence(model: str, rows: TableRows, middle: int) -> Paragraph:
    last, mean = (row_where(rows, model=model, layer=middle, pooling=pooling) for pooling in POOLINGS)
    return paragraph(
        "{model}, layer {layer} (the middle one of those looked at): r(overlap, shift similarity) = {estimate:r} at "
        "the last prompt token ({partial} given norm, length and format, p {partial_q:p}, corrected over layers) and "
        "{r_mean} for the mean over the prompt. Evaluation prompts overlap the training prompts' axes by {overlap:r}, "
        "random axes by {random_overlap:r}; the two sets' mean shifts have cosine {cosine_of_means:r}.",
        last,
        "layers",
        partial=Number(value_text(last.get("partial"), "r"), "layers"),
        r_mean=number(mean, "layers", "r"),
    )


def _draw_layers(canvas: Canvas, rows: TableRows) -> None:
    panels = canvas.subplots(1, 2, sharey=True)
    for panel, (pooling, title) in zip(panels, POOLINGS.items(), strict=True):
        for model, along, colour in coloured(rows_where(rows, pooling=pooling), "model"):
            band(panel, "layer", along, colour, model)
            plot(panel, along, "layer", "random_r", ":", colour, linewidth=1)
        zero_line(panel)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("layer")
    panels[0].set_ylabel("r(overlap, shift similarity)")
    panels[0].set_ylim(-1, 1)
    legend(panels[0])


def _draw_prompts(canvas: Canvas, rows: TableRows, models: Sequence[str], middle: int) -> None:
    panels = canvas.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    for panel, model in zip(panels, models, strict=True):
        cloud = rows_where(rows, model=model, layer=middle, pooling="last")
        dots(panel, cloud, "overlap", "shift_similarity", "format", first=2, markersize=3.5, alpha=0.8)
        panel.set_title(model, fontsize=8)
        panel.set_xlabel("prompt overlap")
        grid(panel)
    panels[0].set_ylabel("shift similarity")
    legend(panels[0], title="asked as", title_fontsize=7)
