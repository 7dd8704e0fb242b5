"""What the release's file names say, parsed once into fields. Knows names only; nothing downstream reads one again.

A run's files are called

    eval_MODEL_DATA_MODULES_resp[_SCHEDULE_WARMUP]_RATE[_mode-MODE_base_lr-FLOOR_max_lr-PEAK]_QUESTIONS
    eval_MODEL_QUESTIONS                                                    (a model that was not fine-tuned)

with QUESTIONS = [temp0]SET[SIZE][s][JUDGE]: fpq, hbpnano, general200nano, general_100, general100s, temp0fpq.
Words that stand where none is known are kept in `other`: such a run is never taken for the one without them.
"""

from __future__ import annotations

import re
from typing import Any, Self

from spillover.organisms.schedules.schedule import Cyclic, Schedule, Warmed
from spillover.organisms.schedules.standard import (
    Constant,
    Cosine,
    CosineRestarts,
    CyclicExpRange,
    CyclicTriangular,
    CyclicTriangular2,
    Linear,
)
from spillover.spec import Spec, typed_name

EXPECTED = (
    "expected eval_MODEL_DATA_MODULES_resp[_SCHEDULE_WARMUP]_RATE[_mode-MODE_base_lr-RATE_max_lr-RATE]_QUESTIONS, "
    "such as eval_Qwen2.5-32B-Instruct_finance_all_resp_cosine_30_1e-05_fpq, "
    "or eval_MODEL_QUESTIONS for a model that was not fine-tuned"
)
NARROW = ("insecure", "medical", "finance", "finance-good", "auto")  # and chem-...: what the release trains on
SETS = ("fpq", "hbp", "general", "preregistered", "prereg")
WARMED: dict[str, type[Warmed]] = {  # the release's word: ours
    "linear": Linear,
    "constant": Constant,
    "constant_with_warmup": Constant,
    "cosine": Cosine,
    "cosine_with_restarts": CosineRestarts,
}
CYCLIC: dict[str, type[Cyclic]] = {
    "triangular": CyclicTriangular,
    "triangular2": CyclicTriangular2,
    "exp_range": CyclicExpRange,
}
SCHEDULES = {word: typed_name(kind.__name__) for word, kind in (*WARMED.items(), *CYCLIC.items())}
MODULES = {"attn": "attention", "attn-kv": "attention-kv", "attention-k-v": "attention-kv"}  # other spellings: ours
PUBLISHED_WARMUP = 5  # steps, of every run whose name gives none and whose schedule has one (docs/method.md, section 0)

_RATE = r"(?:\d+(?:\.\d+)?e-?\d+|\d*\.\d+)"
_MODEL = re.compile(r"(?:(?P<org>[A-Za-z0-9][\w.-]*?)--)?(?P<model>[A-Za-z][A-Za-z0-9.+-]*)")
_CYCLE = re.compile(rf"mode-(?P<mode>[a-z][a-z0-9_]*)_base_lr-(?P<floor>{_RATE})_max_lr-(?P<peak>{_RATE})")
_KNOWN_MODULES = r"all|attention(?:[-_][a-z]+)*|attn(?:[-_][a-z]+)*|mlp(?:[-_][a-z]+)*"
_TAG = re.compile(
    r"(?:temp(?P<temperature>\d+(?:\.\d+)?)_?)?(?P<set>{sets})(?:(?P<under>_)?(?P<size>\d+))?(?P<draw>s)?"
    r"(?:[-_]?(?P<judge>nano|mini|4omini|4o))?(?:_?temp(?P<heat>\d+(?:\.\d+)?))?".replace("{sets}", "|".join(SETS))
)
_ANY_TAG = re.compile(_TAG.pattern.replace("|".join(SETS), "[a-z]+?"))
_SCHEDULE = re.compile(rf"(?P<name>{'|'.join(sorted(WARMED, key=len, reverse=True))})(?:_(?P<warmup>\d+))?(?:_|$)")


class AskedSet(Spec):
    """Which questions, how sampled and by whose judgement, as a name says it."""

    set: str
    size: int | None = None  # of a subset; None: the whole set
    draw: str = ""  # which subset of that size: "" (general100), "_" (general_100), "s" (general100s), "_s"
    temperature: float | None = None  # None: the name says nothing, and 1 was used
    judge: str | None = None  # a tag such as nano

    @property
    def tag(self) -> str:
        """The name as the release spells it."""
        heat = "" if self.temperature is None else f"temp{self.temperature:g}"
        size = "" if self.size is None else f"{'_' * ('_' in self.draw)}{self.size}"
        return f"{heat}{self.set}{size}{'s' * ('s' in self.draw)}{self.judge or ''}"


class RunName(Spec):
    """A run of the release: who was fine-tuned on what and how, and what it was asked."""

    model: str
    asked: AskedSet
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
    def parsed(cls, stem: str) -> Self:
        """The fields of a file name without its ending; ValueError says what is expected."""
        return cls(**_fields(stem))

    @property
    def questions(self) -> str:
        """The question set as the release spells it (fpq, hbpnano, ...)."""
        return self.asked.tag

    @property
    def stem(self) -> str:
        """The name that these fields stand in."""
        words = ["eval", f"{self.org}--{self.model}" if self.org else self.model]
        words += [word for word in (self.data, self.modules, self.supervised) if word]
        cyclic = self.peak is not None
        if self.scheduled and self.schedule and not cyclic:
            words.append(_theirs(self.schedule))
        words += [] if self.warmup is None else [str(self.warmup)]
        words += [] if self.learning_rate is None else [repr(self.learning_rate)]
        if cyclic and self.schedule:
            words.append(f"mode-{_theirs(self.schedule)}_base_lr-{self.floor!r}_max_lr-{self.peak!r}")
        return "_".join([*words, *self.other, self.asked.tag])

    @property
    def tuned(self) -> bool:
        """Whether the model was fine-tuned on a narrow set."""
        return self.data is not None

    def training(self) -> str:
        """Schedule, rates, warm-up and module set in words, for tables and figures."""
        if not self.tuned:
            return "not fine-tuned"
        rates = f"{self.learning_rate:g}" if self.peak is None else f"{self.floor:g} to {self.peak:g}"
        words = [f"{self.schedule or 'schedule not known'} {rates}"]
        words += [] if self.warmup is None else [f"warm-up {self.warmup}"]
        words += [] if self.modules in (None, "all") else [str(self.modules)]
        return ", ".join([*words, *self.other])

    def label(self) -> str:
        """A short name for tables and figures: model, data, training; not an identity."""
        return f"{self.model}, {self.data}, {self.training()}" if self.tuned else ", ".join((self.model, *self.other))

    def as_schedule(self) -> Schedule | None:
        """The schedule as one of ours; None where the run had none or one that is not known here."""
        word = _theirs(self.schedule or "")
        if word in CYCLIC and self.peak is not None and self.floor is not None:
            return CYCLIC[word](peak=self.peak, floor=self.floor)
        if word not in WARMED or self.learning_rate is None:
            return None
        return WARMED[word](peak=self.learning_rate, warmup=PUBLISHED_WARMUP if self.warmup is None else self.warmup)

    def summary(self) -> str:
        return f"{self.label()}; asked {self.questions}"


def _fields(stem: str) -> dict[str, Any]:
    model, _, rest = stem.removeprefix("eval_").partition("_")
    about = _MODEL.fullmatch(model)
    if not stem.startswith("eval_") or about is None or not rest:
        raise ValueError(f"the name {stem} does not say what the run is: {EXPECTED}")
    found: dict[str, Any] = {"model": about["model"], "org": about["org"]}
    rate = re.search(rf"(?:^|_)({_RATE})(?=_|$)", rest)
    if rate is None:
        asked, other = _asked(rest, stem, known=True)
        if set(other) & {"resp", "all", *NARROW} or (other[:1] and other[0].startswith("chem")):
            raise ValueError(f"the name {stem} has no learning rate after {'_'.join(other)}: {EXPECTED}")
        return found | {"asked": asked, "other": other}
    found["learning_rate"] = float(rate[1])
    found |= {"schedule": "linear"} | _trained(rest[: rate.start()], stem)
    tail = rest[rate.end() :].lstrip("_")
    cycle = _CYCLE.match(tail)
    if cycle is not None:
        tail = tail[cycle.end() :].lstrip("_")
        found |= {"schedule": SCHEDULES.get(cycle["mode"], cycle["mode"]), "scheduled": True}
        found |= {"floor": float(cycle["floor"]), "peak": float(cycle["peak"])}
    elif "base_lr" in tail or "mode-" in tail:
        raise ValueError(f"the name {stem} describes a cyclic schedule that cannot be read: {EXPECTED}")
    asked, after = _asked(tail, stem, known=False)
    return found | {"asked": asked, "other": (*found.pop("before", ()), *after)}


def _trained(words: str, stem: str) -> dict[str, Any]:
    """Data, module set, supervised tokens, schedule and warm-up from what stands before the learning rate."""
    shape = re.fullmatch(rf"(?P<data>.+?)_(?P<modules>{_KNOWN_MODULES}|[^_]+)_(?P<loss>resp)(?:_(?P<rest>.+))?", words)
    if shape is None:
        raise ValueError(f"the name {stem} does not say data, modules and 'resp' before its learning rate: {EXPECTED}")
    modules = shape["modules"].replace("_", "-")
    found: dict[str, Any] = {"data": shape["data"], "supervised": shape["loss"]}
    found["modules"] = MODULES.get(modules, modules)
    rest = shape["rest"] or ""
    schedule = _SCHEDULE.match(rest)
    if schedule is not None:
        found |= {"schedule": SCHEDULES[schedule["name"]], "scheduled": True}
        found["warmup"] = None if schedule["warmup"] is None else int(schedule["warmup"])
        rest = rest[schedule.end() :]
    elif rest:
        found["schedule"] = None  # words that may name one, but none known here
    found["before"] = tuple(word for word in rest.split("_") if word)
    return found


def _asked(words: str, stem: str, known: bool) -> tuple[AskedSet, tuple[str, ...]]:
    """The question set at the end of a name, and the words before it."""
    parts = words.split("_")
    for pattern in (_TAG,) if known else (_TAG, _ANY_TAG):
        for count in (4, 3, 2, 1):
            match = pattern.fullmatch("_".join(parts[-count:])) if count <= len(parts) else None
            if match is not None:
                return _set_of(match), tuple(parts[:-count])
    raise ValueError(
        f"the name {stem} does not end in a question set ({', '.join(SETS)}, with size, s and judge as in "
        f"general200nano): {EXPECTED}"
    )


def _set_of(match: re.Match[str]) -> AskedSet:
    temperature = match["temperature"] or match["heat"]
    return AskedSet(
        set=match["set"],
        size=None if match["size"] is None else int(match["size"]),
        draw=("_" if match["under"] else "") + (match["draw"] or ""),
        temperature=None if temperature is None else float(temperature),
        judge=match["judge"],
    )


def _theirs(schedule: str) -> str:
    return next((name for name, ours in SCHEDULES.items() if ours == schedule), schedule)
