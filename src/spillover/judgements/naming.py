"""Judges and rubrics as users name them, on the command line and in recipes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from spillover.judgements.judge import METRICS, Judge
from spillover.judgements.rubric import Rubrics
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.judgements.rubrics.yaml_rubrics import YamlRubrics
from spillover.spec import kinds_of, part_named, typed_name


def judge_named(text: str, options: Mapping[str, str] | None = None, scoring: Sequence[str] = ()) -> Judge:
    """The judge that a user names: `embedded`, another kind whose fields all have defaults, or `local-model:MODEL`.

    `options` are its fields as a user types them; `model` stands for what comes after a colon, `rubric` (`built-in`, or
    a YAML file) and `metrics` (with commas between) for its rubrics. `scoring`: metrics that it has to score.
    """
    name, colon, rest = text.partition(":")
    options = dict(options or {})
    rest = options.pop("model", rest)
    kind = part_named("judge", name, {typed_name(kind.__name__): kind for kind in kinds_of(Judge).values()})
    assert issubclass(kind, Judge)
    if not colon and not rest and any(field.is_required() for field in kind.model_fields.values()):
        raise ValueError(f"the judge {name} needs a model: {name}:MODEL (or --model MODEL)")
    judge = with_options(kind.typed(rest) if colon or rest else kind(), options)
    unscored = [metric for metric in scoring if metric not in judge.metrics]
    if unscored:
        raise ValueError(
            f"the judge {text} scores {', '.join(judge.metrics)}, not {' and '.join(unscored)}, which this study is "
            f"about: take another judge, or a recipe with analyses of your own"
        )
    return judge


def name_and_options(text: str, form: str, option: str = "mode=integer") -> tuple[str, dict[str, str]]:
    """What stands before the first space, and the options after it; `form` and `option` say how they should look.

    ValueError where there is no name, or a word that is no option. What is given may hold a key, and is not repeated.
    """
    try:
        name, *words = shlex.split(text) or [""]
    except ValueError:
        raise ValueError(f"{form}: a quote opens and does not close") from None
    if not name or "=" in name:
        raise ValueError(f"{form}: a name has to stand after the colon, before any option")
    if strange := [word for word in words if "=" not in word]:
        raise ValueError(f"{form} is followed by options like {option}, got {strange[0]!r:.40}")
    return name, dict(word.split("=", 1) for word in words)


def with_options(judge: Judge, options: Mapping[str, str]) -> Judge:
    """The judge with options as a user types them: `max-cost` is its field max_cost, `none` is None."""
    given = {name.replace("-", "_"): None if value == "none" else value for name, value in options.items()}
    fields = type(judge).model_fields
    if "rubrics" in fields and {"rubric", "metrics"} & set(given):
        metrics = [word.strip() for word in (given.pop("metrics", "") or "").split(",") if word.strip()]
        given["rubrics"] = rubrics_named(given.pop("rubric", "") or "", metrics)  # type: ignore[assignment]
    strange = [name for name in given if name not in fields]
    if strange:
        taken = [name.replace("_", "-") for name in fields if name not in ("model", "rubrics")]
        also = ["rubric", "metrics"] if "rubrics" in fields else []
        raise ValueError(
            f"the judge {typed_name(judge.kind)} takes no {', '.join(strange).replace('_', '-')}; "
            f"it takes {', '.join([*also, *taken])}"
        )
    return judge.but(**given) if given else judge


def rubrics_named(text: str = "", metrics: Sequence[str] = ()) -> Rubrics:
    """The rubrics that a user names, `built-in` (or no text) or a published YAML file; of them these metrics.

    Without metrics: aligned, harmless and coherent, as far as the file has them.
    """
    if text in ("", "built-in"):
        return BuiltInRubrics(scored=tuple(metrics) or METRICS)
    if not Path(text).suffix and "/" not in text:
        raise ValueError(
            f"no rubrics are called {text!r}: give `built-in`, or the path of a YAML file with judge_prompts"
        )
    return YamlRubrics.from_file(text, metrics)
