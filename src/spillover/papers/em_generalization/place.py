"""What the names and folders of the release's activation results say, parsed once into fields. Knows paths only.

.../MODEL_DATA_to_SET/TOKENS/SITE/layer_N/POOLING.train_delta_pca_kK.eval_delta_compare.json
.../MODEL/METRIC_FEATURES_DATA_KIND_SET_LAYER/METRIC-FEATURES-POOLED-numpcN.csv
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from spillover.spec import Spec

_MODEL = r"(?:(?P<org>[A-Za-z0-9][\w.-]*?)--)?(?P<model>[A-Za-z][A-Za-z0-9.+-]*)"
_PAIR = re.compile(_MODEL + r"_(?P<data>.+)_to_(?P<evaluated>[A-Za-z0-9_-]+)")
_COMPARED = re.compile(r"(?P<pooling>[a-z_]+)\.train_delta_pca_k(?P<k>\d+(?:\.\d+)?)\.eval_delta_compare")
_FEATURES = re.compile(r"(?P<metric>[a-z]+)-(?P<features>.+)-(?P<pooled>ev\w*)-numpc(?P<axes>\d+)")


class GeometryName(Spec):
    """Activation shifts of one model on one set of prompts, compared with those of its training prompts."""

    model: str
    data: str  # the narrow dataset
    evaluated: str  # the set of evaluation prompts
    tokens: str  # which text was read: prompt_only
    site: str  # mlp_post_resid, ...
    layer: int
    pooling: str  # last_prompt_token, mean_prompt
    k: float  # axes, or where below 1 the share of variance that they explain
    org: str | None = None

    @classmethod
    def parsed(cls, path: Path) -> Self:
        """The fields from a file's name and the four folders above it."""
        name = _COMPARED.fullmatch(path.stem)
        above = path.parent.parts[-4:]
        pair = _PAIR.fullmatch(above[0]) if len(above) == 4 else None
        layer = re.fullmatch(r"layer_(\d+)", above[-1]) if above else None
        if name is None or pair is None or layer is None:
            raise ValueError(
                f"{path.name} does not stand where its fields can be read: expected MODEL_DATA_to_SET/TOKENS/SITE/"
                f"layer_N/POOLING.train_delta_pca_kK.eval_delta_compare.json, got {'/'.join((*above, path.name))}"
            )
        return cls(
            org=pair["org"],
            model=pair["model"],
            data=pair["data"],
            evaluated=pair["evaluated"],
            tokens=above[1],
            site=above[2],
            layer=int(layer[1]),
            pooling=name["pooling"],
            k=float(name["k"]),
        )

    def label(self) -> str:
        """A short name for tables; not an identity."""
        return f"{self.model}, {self.data} to {self.evaluated}, layer {self.layer}, {self.pooling}, k {self.k:g}"

    def summary(self) -> str:
        return self.label()


class CrossValidationName(Spec):
    """Cross-validated prediction of a metric from activations, one file of results."""

    model: str
    metric: str
    claimed: str  # pretrained or instruct, as the name says. Only a claim: docs/method.md, mistake 2
    directions: str  # random_projections, ...
    draw: int | None  # number of the random draw
    target: str  # what the rest of the features' name says: eval_var
    data: str
    drawn: str  # random, ...: the words between data and questions
    questions: str
    layer: int
    pooled: str  # ev, ev_mean: last prompt token, mean over the prompt
    axes: int

    @classmethod
    def parsed(cls, path: Path) -> Self:
        """The fields from a file's name and the two folders above it."""
        name = _FEATURES.fullmatch(path.stem)
        folder = path.parent.name
        head = "" if name is None else f"{name['metric']}_{name['features']}_"
        rest = re.fullmatch(
            r"(?P<data>[^_]+)_(?:(?P<drawn>.+)_)?(?P<questions>[^_]+)_(?P<layer>\d+)", folder[len(head) :]
        )
        if name is None or rest is None or not folder.startswith(head):
            raise ValueError(
                f"{path.name} does not stand where its fields can be read: expected MODEL/METRIC_FEATURES_DATA_KIND_"
                f"SET_LAYER/METRIC-FEATURES-ev-numpcN.csv, got {'/'.join(path.parts[-3:])}"
            )
        features = name["features"].removeprefix("pretrained.")
        parts = features.split(".")
        number = next((index for index, part in enumerate(parts) if part.isdigit()), None)
        after = 1 if number is None else number + 1
        return cls(
            model=path.parent.parent.name.rpartition("--")[2],
            metric=name["metric"],
            claimed="pretrained" if name["features"] != features else "instruct",
            directions=".".join(parts[: after if number is None else number]),
            draw=None if number is None else int(parts[number]),
            target=".".join(parts[after:]),
            data=rest["data"],
            drawn=rest["drawn"] or "",
            questions=rest["questions"],
            layer=int(rest["layer"]),
            pooled=name["pooled"],
            axes=int(name["axes"]),
        )

    def label(self) -> str:
        """A short name for tables; not an identity."""
        draw = "" if self.draw is None else f" {self.draw}"
        return f"{self.model}, {self.data}, {self.questions}, {self.directions}{draw} ({self.claimed}), {self.pooled}"

    def summary(self) -> str:
        return f"{self.label()}, layer {self.layer}: prediction of {self.metric}"
