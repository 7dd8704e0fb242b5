"""One instance of every kind of spec, built from its fields. Knows defaults and types; a few kinds it is told."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example
from spillover.responses.own_answers import own_answers
from spillover.responses.question import Question, QuestionSet, in_formats
from spillover.spec import Spec, decode, kind_named, kinds_of

GOLDEN = Path(__file__).parent / "golden" / "fingerprints.json"


class SpecimenRows(Dataset):
    """Rows that never change, unlike a set that ships."""

    def examples(self) -> list[Example]:
        return [Example(f"row-{n}", (Message("user", f"{n}?"), Message("assistant", f"{n}!"))) for n in range(12)]


class SpecimenQuestions(QuestionSet):
    """Questions that never change, unlike a set that ships."""

    def all_questions(self) -> list[Question]:
        return [question for n in range(4) for question in in_formats(f"q{n}", f"f{n}", "any", f"Is it {n}?")]


# What stands in a field of an abstract type, and kinds whose fields have to fit together.
STAND_INS: dict[str, dict[str, Any]] = {
    "Model": {"kind": "Base", "name": "a base", "source": {"kind": "TinySource"}, "role": "instruct"},
    "Base": {"kind": "Base", "name": "a base", "source": {"kind": "TinySource"}, "role": "instruct"},
    "Source": {"kind": "TinySource"},
    "Dataset": {"kind": "SpecimenRows"},
    "Schedule": {"kind": "Linear", "peak": 0.001},
    "QuestionSet": {"kind": "SpecimenQuestions"},
    "Sampler": {"kind": "LocalSampler"},
    "Judge": {"kind": "Embedded", "weights": "0" * 64},  # weights can be refitted; what Embedded is stays
    "Embedded": {"kind": "Embedded", "weights": "0" * 64},
    "Reader": {"kind": "Reader", "weights": "0" * 64, "precision": "float32"},
    "LocalModel": {
        **{"kind": "LocalModel", "rubrics": {"kind": "BuiltInRubrics", "sha256": "0" * 64}},
        **{"model": {"kind": "Base", "name": "a base", "source": {"kind": "TinySource"}, "role": "instruct"}},
    },
    "Rubrics": {"kind": "BuiltInRubrics", "sha256": "0" * 64},  # texts can be reworded, too
    "BuiltInRubrics": {"kind": "BuiltInRubrics", "sha256": "0" * 64},
    "TwoPhase": {
        **{"kind": "TwoPhase", "cheap": {"kind": "Embedded", "weights": "0" * 64}},
        "dear": {"kind": "Endpoint", "model": "a model", "rubrics": {"kind": "BuiltInRubrics", "sha256": "0" * 64}},
    },
    "Endpoint": {"kind": "Endpoint", "model": "a model", "rubrics": {"kind": "BuiltInRubrics", "sha256": "0" * 64}},
    "Split": {"kind": "Split", "data": {"kind": "SpecimenRows"}, "rows": 8, "held_out": 4},
    "TrainingData": {"kind": "Split", "data": {"kind": "SpecimenRows"}, "rows": 8, "held_out": 4},
    "QuestionSelection": {"kind": "QuestionSelection", "source": {"kind": "SpecimenQuestions"}},
    "Prompts": {
        "kind": "EvaluationPrompts",
        "questions": {"kind": "QuestionSelection", "source": {"kind": "SpecimenQuestions"}},
    },
}


def ours() -> dict[str, type[Spec]]:
    """Every concrete kind of the package, by name; kinds that tests define are left out."""
    return {name: cls for name, cls in kinds_of(Spec).items() if cls.__module__.startswith("spillover.")}


def specimen(cls: type[Spec]) -> Spec:
    """An instance of the kind: what it is told, else its defaults, and simple values where it has none."""
    if cls.__name__ in STAND_INS and STAND_INS[cls.__name__]["kind"] == cls.__name__:
        return decode(STAND_INS[cls.__name__])
    if cls.__name__ == "Checkpoint":
        organism = specimen(kind_named("Organism"))
        return cls(organism=organism, step=organism.steps)
    if cls.__name__ == "Dynamics":
        responses = specimen(kind_named("Responses")).but(model=specimen(kind_named("Checkpoint")))
        return cls(checkpoints=(specimen(kind_named("Judgements")).but(responses=responses),), before=None)
    if cls.__name__ in ("Trajectories", "EarlyStopping"):
        before = specimen(kind_named("Judgements"))
        return cls(checkpoints=specimen(kind_named("Dynamics")).checkpoints, before=before)
    if cls.__name__ == "Minima":
        point, losses = specimen(kind_named("Interpolated")), specimen(kind_named("HeldOutLosses"))
        return cls(losses=tuple(losses.but(model=point.but(share=share)) for share in (0.0, 0.5, 1.0)))
    if cls.__name__ == "Geometry":
        before, after = specimen(kind_named("Activations")), specimen(kind_named("Checkpoint"))
        pair = {"training_before": before, "evaluation_before": before}
        return cls(**pair, training_after=(before.but(model=after),), evaluation_after=(before.but(model=after),))
    if cls.__name__ == "Steering":
        shift = specimen(kind_named("MeanShift"))
        return cls(evaluation_before=shift.before, evaluation_after=shift.after, directions=(shift,))
    if cls.__name__ == "Steered":
        direction = specimen(kind_named("MeanShift"))
        return cls(model=direction.before.model, direction=direction)
    if cls.__name__ in ("TraitLeaning", "TraitCheck"):
        stored = specimen(kind_named("Likelihoods"))
        stored = stored.but(questions=stored.answers.questions)
        plain = kind_named("TraitLeaning")(high=stored, low=stored)
        if cls.__name__ == "TraitLeaning":
            return plain
        model = specimen(kind_named("Steered")).but(model=stored.model)
        return cls(
            trait="evil", plain=plain, added=plain.but(high=stored.but(model=model), low=stored.but(model=model))
        )
    if cls.__name__ == "ModelSizes":
        effect = specimen(kind_named("Effect"))
        larger = effect.before.responses.model.base().but(name="a larger base", source=kind_named("TinySource")(seed=1))
        scores = effect.before.but(responses=effect.before.responses.but(model=larger))
        return cls(effects=(effect, effect.but(before=scores)))
    if cls.__name__ == "Drift":
        shift = specimen(kind_named("MeanShift"))
        return cls(before=shift.before, checkpoints=(shift.after,), directions=(shift,))
    if cls.__name__ == "Lens":
        tokens = kind_named("LensTokens")(direction=specimen(kind_named("MeanShift")))
        return cls(bad=(tokens,), reference=specimen(kind_named("Responses")))
    if issubclass(cls, kind_named("Direction")):
        return cls(**_direction_fields(cls.__name__))
    if cls.__name__ == "OwnAnswers":
        return own_answers(decode(STAND_INS["Split"]), decode(STAND_INS["Model"]))
    if cls.__name__ in ("Conditions", "SecondStage"):
        entry = specimen(kind_named("InCondition"))
        asked = (entry.but(name="as it is"), entry)
        return (
            cls(base=asked, tuned=asked) if cls.__name__ == "Conditions" else cls(base=asked, first=asked, later=asked)
        )
    if cls.__name__ == "FourQuestions":
        entry = specimen(kind_named("Treated"))
        return cls(base=entry.but(name="base"), control=entry.but(name="control"), treated=(entry,))
    if cls.__name__ == "WordShifts":
        return cls(before=specimen(kind_named("Judgements")), bad=(specimen(kind_named("Judgements")),))
    if cls.__name__ == "LogitShifts":
        return cls(before=decode(STAND_INS["Model"]), after=specimen(kind_named("Checkpoint")), texts=("a text",))
    if cls.__name__ == "TokenRatios":
        read = specimen(kind_named("Likelihoods"))
        return cls(trained=read.but(model=specimen(kind_named("Checkpoint"))), parent=read)
    if cls.__name__ == "Comparison":
        effect = specimen(kind_named("Effect"))
        return cls(first=effect, second=effect.but(draws=100))
    if cls.__name__ == "Agreement":
        return cls(judgements=(specimen(kind_named("Judgements")),) * 2)
    needed = {name: field.annotation for name, field in cls.model_fields.items() if field.is_required()}
    return cls(**{name: _value(annotation) for name, annotation in needed.items()})


def _direction_fields(name: str) -> dict[str, Any]:
    """What a kind of direction is made from."""
    activations = specimen(kind_named("Activations"))
    if name == "MeanShift":
        after = activations.but(model=specimen(kind_named("Checkpoint")))
        return {"before": activations, "after": after, "layer": 1}
    if name == "RandomDirection":
        return {"like": specimen(kind_named("MeanShift")), "seed": 0}
    if name == "PrincipalAxis":
        return {"activations": activations, "layer": 1}
    if name == "DecoderRow":
        file = {"path": "features.safetensors", "sha256": "0" * 64}
        return {"base": decode(STAND_INS["Model"]), "feature": 2, "layer": 1, **file}
    scores = specimen(kind_named("Judgements"))
    answered = activations.but(prompts=kind_named("AnsweredPrompts")(responses=scores.responses))
    if name == "ScoreContrast":
        return {"activations": answered, "scores": scores, "layer": 1}
    return {"high": answered, "low": activations, "layer": 1}  # between two sets


def _value(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin is Literal:
        return get_args(annotation)[0]
    if origin in (Union, types.UnionType):
        return _value(get_args(annotation)[0])
    if origin is tuple:
        return (_value(get_args(annotation)[0]),)
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        if annotation.__name__ == "ScoredAnswers":
            return specimen(kind_named("Judgements"))
        if annotation.__name__ in STAND_INS:
            return decode(STAND_INS[annotation.__name__])
        below = kinds_of(annotation)
        return specimen(next(iter(below.values())) if below else annotation)
    return {str: "a text", int: 1, float: 0.5, bool: True}[annotation]
