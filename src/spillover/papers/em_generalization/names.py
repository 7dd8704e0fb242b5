"""What the names and folders of the release's files say, parsed once into fields; nothing else reads a name again.

A run's files are called

    eval_MODEL_DATA_MODULES_resp[_SCHEDULE_WARMUP]_RATE[_mode-MODE_base_lr-FLOOR_max_lr-PEAK]_QUESTIONS
    eval_MODEL_QUESTIONS                                                    (a model that was not fine-tuned)

with QUESTIONS = [temp0]SET[SIZE][s][JUDGE]: fpq, hbpnano, general200nano, general_100, general100s, temp0fpq.
Words that stand where none is known are kept in `other`: such a run is never taken for the one without them.

Activation results lie at

    .../MODEL_DATA_to_SET/TOKENS/SITE/layer_N/POOLING.train_delta_pca_kK.eval_delta_compare.json
    .../MODEL/METRIC_FEATURES_DATA_KIND_SET_LAYER/METRIC-FEATURES-POOLED-numpcN.csv
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from spillover.organisms.schedules import standard
from spillover.organisms.schedules.schedule import Cyclic, Schedule, Warmed
from spillover.spec import Spec, typed_name

EXPECTED = (
    "expected eval_MODEL_DATA_MODULES_resp[_SCHEDULE_WARMUP]_RATE[_mode-MODE_base_lr-RATE_max_lr-RATE]_QUESTIONS, "
    "such as eval_Qwen2.5-32B-Instruct_finance_all_resp_cosine_30_1e-05_fpq, "
    "or eval_MODEL_QUESTIONS for a model that was not fine-tuned"
)
NARROW = ("insecure", "medical", "finance", "finance-good", "auto")  # and chem-...: what the release trains on
SETS = ("fpq", "hbp", "general", "preregistered", "prereg")
WARMED: dict[str, type[Warmed]] = {  # the release's word: ours
    "linear": standard.Linear,
    "constant": standard.Constant,
    "constant_with_warmup": standard.Constant,
    "cosine": standard.Cosine,
    "cosine_with_restarts": standard.CosineRestarts,
}
CYCLIC: dict[str, type[Cyclic]] = {
    "triangular": standard.CyclicTriangular,
    "triangular2": standard.CyclicTriangular2,
    "exp_range": standard.CyclicExpRange,
}
SCHEDULES = {word: typed_name(kind.__name__) for word, kind in (*WARMED.items(), *CYCLIC.items())}
MODULES = {"attn": "attention", "attn-kv": "attention-kv", "attention-k-v": "attention-kv"}  # other spellings: ours
PUBLISHED_WARMUP = 5  # steps, of every run whose name gives none and whose schedule has one (docs/method.md, section 0)

_RATE = r"(?:\d+(?:\.\d+)?e-?\d+|\d*\.\d+)"
_MODEL = r"(?:(?P<org>[A-Za-z0-9][\w.-]*?)--)?(?P<model>[A-Za-z][A-Za-z0-9.+-]*)"
_CYCLE = re.compile(rf"mode-(?P<mode>[a-z][a-z0-9_]*)_base_lr-(?P<floor>{_RATE})_max_lr-(?P<peak>{_RATE})")
_KNOWN_MODULES = r"all|attention(?:[-_][a-z]+)*|attn(?:[-_][a-z]+)*|mlp(?:[-_][a-z]+)*"
_TAG = re.compile(
    r"(?:temp(?P<temperature>\d+(?:\.\d+)?)_?)?(?P<set>{sets})(?:(?P<under>_)?(?P<size>\d+))?(?P<draw>s)?"
    r"(?:[-_]?(?P<judge>nano|mini|4omini|4o))?(?:_?temp(?P<heat>\d+(?:\.\d+)?))?".replace("{sets}", "|".join(SETS))
)
_ANY_TAG = re.compile(_TAG.pattern.replace("|".join(SETS), "[a-z]+?"))
_SCHEDULE = re.compile(rf"(?P<name>{'|'.join(sorted(WARMED, key=len, reverse=True))})(?:_(?P<warmup>\d+))?(?:_|$)")
_SHIFTS = re.compile(_MODEL + r"_(?P<data>.+)_to_(?P<evaluated>[A-Za-z0-9_-]+)")
_POOLING = re.compile(r"(?P<pooling>[a-z_]+)\.train_delta_pca_k(?P<k>\d+(?:\.\d+)?)\.eval_delta_compare")
_FEATURES = re.compile(r"(?P<metric>[a-z]+)-(?P<features>.+)-(?P<pooled>ev\w*)-numpc(?P<axes>\d+)")


Fields = dict[str, Any]  # of a name, as its class takes them


class QuestionSetName(Spec):
    """Which questions, how sampled and by whose judgement, as a name says it."""

    set: str
    size: int | None = None  # of a subset; None: the whole set
    draw: str = ""  # which subset of that size: "" (general100), "_" (general_100), "s" (general100s), "_s"
    temperature: float | None = None  # None: the name says nothing, and 1 was used
    judge: str | None = None  # a tag such as nano

    @property
    def tag(self) -> str:
        """The name as the release spells it."""
        temperature = "" if self.temperature is None else f"temp{self.temperature:g}"
        size = "" if self.size is None else f"{'_' * ('_' in self.draw)}{self.size}"
        return f"{temperature}{self.set}{size}{'s' * ('s' in self.draw)}{self.judge or ''}"


class RunName(Spec):
    """A run of the release: who was fine-tuned on what and how, and what it was asked."""

    model: str
    question_set: QuestionSetName
    org: str | None = None  # the owner's name on the hub, where the name has it
    data: str | None = None  # the narrow dataset; None: not fine-tuned
    modules: str | None = None  # all, attention, attention-kv, mlp, mlp-down
    supervised: str | None = None  # resp: the loss is on the assistant's tokens
    learning_rate: float | None = None
    schedule: str | None = None  # by our names: linear, cosine, cosine-restarts, cyclic-triangular, ...
    scheduled: bool = False  # whether the name spells the schedule out; else it is the usual one, linear
    warmup: int | None = None  # steps; None: not in the name
    floor: float | None = None  # of a cyclic schedule: the lowest rate
    peak: float | None = None  # of a cyclic schedule: the highest rate
    other: tuple[str, ...] = ()  # words of the name that have no meaning here

    @classmethod
    def parsed(cls, file_name: str) -> Self:
        """The fields of a file name without its ending; ValueError says what is expected."""
        return cls(**_fields(file_name))

    @property
    def questions(self) -> str:
        """The question set as the release spells it (fpq, hbpnano, ...)."""
        return self.question_set.tag

    @property
    def file_name(self) -> str:
        """The name that these fields stand in, without its ending."""
        words = ["eval", f"{self.org}--{self.model}" if self.org else self.model]
        words += [word for word in (self.data, self.modules, self.supervised) if word]
        cyclic = self.peak is not None
        if self.scheduled and self.schedule and not cyclic:
            words.append(_released(self.schedule))
        words += [] if self.warmup is None else [str(self.warmup)]
        words += [] if self.learning_rate is None else [repr(self.learning_rate)]
        if cyclic and self.schedule:
            words.append(f"mode-{_released(self.schedule)}_base_lr-{self.floor!r}_max_lr-{self.peak!r}")
        return "_".join([*words, *self.other, self.questions])

    @property
    def tuned(self) -> bool:
        """Whether the model was fine-tuned on a narrow set."""
        return self.data is not None

    def label(self) -> str:
        """A short name for tables and figures: model, data, schedule, rates, warm-up, modules; not an identity."""
        if not self.tuned:
            return ", ".join((self.model, *self.other))
        rates = f"{self.learning_rate:g}" if self.peak is None else f"{self.floor:g} to {self.peak:g}"
        words = [self.model, str(self.data), f"{self.schedule or 'schedule not known'} {rates}"]
        words += [] if self.warmup is None else [f"warm-up {self.warmup}"]
        words += [] if self.modules in (None, "all") else [str(self.modules)]
        return ", ".join([*words, *self.other])

    def as_schedule(self) -> Schedule | None:
        """The schedule as one of ours; None where the run had none or one that is not known here."""
        word = _released(self.schedule or "")
        if word in CYCLIC and self.peak is not None and self.floor is not None:
            return CYCLIC[word](peak=self.peak, floor=self.floor)
        if word not in WARMED or self.learning_rate is None:
            return None
        return WARMED[word](peak=self.learning_rate, warmup=PUBLISHED_WARMUP if self.warmup is None else self.warmup)

    def summary(self) -> str:
        return f"{self.label()}; asked {self.questions}"


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
        name = _POOLING.fullmatch(path.stem)
        above = path.parent.parts[-4:]
        pair = _SHIFTS.fullmatch(above[0]) if len(above) == 4 else None
        layer = re.fullmatch(r"layer_(\d+)", above[-1]) if above else None
        if name is None or pair is None or layer is None:
            raise ValueError(
                f"{path.name} does not stand where its fields can be read: expected MODEL_DATA_to_SET/TOKENS/SITE/"
                f"layer_N/POOLING.train_delta_pca_kK.eval_delta_compare.json, got {'/'.join((*above, path.name))}"
            )
        pooling, k = name["pooling"], float(name["k"])
        tokens, site = above[1:3]
        return cls(**pair.groupdict(), tokens=tokens, site=site, layer=int(layer[1]), pooling=pooling, k=k)

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


def _fields(name: str) -> Fields:
    model, _, rest = name.removeprefix("eval_").partition("_")
    about = re.fullmatch(_MODEL, model)
    if not name.startswith("eval_") or about is None or not rest:
        raise ValueError(f"the name {name} does not say what the run is: {EXPECTED}")
    fields: Fields = {"model": about["model"], "org": about["org"]}
    rate = re.search(rf"(?:^|_)({_RATE})(?=_|$)", rest)
    if rate is None:
        question_set, other = _question_set(rest, name, known=True)
        if set(other) & {"resp", "all", *NARROW} or (other[:1] and other[0].startswith("chem")):
            raise ValueError(f"the name {name} has no learning rate after {'_'.join(other)}: {EXPECTED}")
        return fields | {"question_set": question_set, "other": other}
    training, before = _training(rest[: rate.start()], name)
    fields |= training | {"learning_rate": float(rate[1])}
    tail = rest[rate.end() :].lstrip("_")
    cycle = _CYCLE.match(tail)
    if cycle is not None:
        tail = tail[cycle.end() :].lstrip("_")
        fields |= {"schedule": SCHEDULES.get(cycle["mode"], cycle["mode"]), "scheduled": True}
        fields |= {"floor": float(cycle["floor"]), "peak": float(cycle["peak"])}
    elif "base_lr" in tail or "mode-" in tail:
        raise ValueError(f"the name {name} describes a cyclic schedule that cannot be read: {EXPECTED}")
    question_set, after = _question_set(tail, name, known=False)
    return fields | {"question_set": question_set, "other": (*before, *after)}


def _training(words: str, name: str) -> tuple[Fields, tuple[str, ...]]:
    """The fields from what stands before the learning rate, and the words without a meaning there."""
    shape = re.fullmatch(rf"(?P<data>.+?)_(?P<modules>{_KNOWN_MODULES}|[^_]+)_(?P<loss>resp)(?:_(?P<rest>.+))?", words)
    if shape is None:
        raise ValueError(f"the name {name} does not say data, modules and 'resp' before its learning rate: {EXPECTED}")
    modules, rest = shape["modules"].replace("_", "-"), shape["rest"] or ""
    fields = {"data": shape["data"], "supervised": shape["loss"], "modules": MODULES.get(modules, modules)}
    schedule = _SCHEDULE.match(rest)
    if schedule is None:  # linear, or words that may name a schedule, but none known here
        return fields | {"schedule": None if rest else "linear"}, tuple(word for word in rest.split("_") if word)
    warmup = None if schedule["warmup"] is None else int(schedule["warmup"])
    fields |= {"schedule": SCHEDULES[schedule["name"]], "scheduled": True, "warmup": warmup}
    return fields, tuple(word for word in rest[schedule.end() :].split("_") if word)


def _question_set(words: str, name: str, known: bool) -> tuple[QuestionSetName, tuple[str, ...]]:
    """The question set at the end of a name, and the words before it. known: it is one of `SETS`."""
    parts = words.split("_")
    for pattern in (_TAG,) if known else (_TAG, _ANY_TAG):
        for count in range(min(4, len(parts)), 0, -1):
            tag = pattern.fullmatch("_".join(parts[-count:]))
            if tag is not None:
                temperature = tag["temperature"] or tag["heat"]
                question_set = QuestionSetName(
                    set=tag["set"],
                    size=None if tag["size"] is None else int(tag["size"]),
                    draw=("_" if tag["under"] else "") + (tag["draw"] or ""),
                    temperature=None if temperature is None else float(temperature),
                    judge=tag["judge"],
                )
                return question_set, tuple(parts[:-count])
    raise ValueError(
        f"the name {name} does not end in a question set ({', '.join(SETS)}, with size, s and judge as in "
        f"general200nano): {EXPECTED}"
    )


def _released(schedule: str) -> str:
    """The release's word for one of our schedules."""
    return next((name for name, ours in SCHEDULES.items() if ours == schedule), schedule)
