"""What tuning buys: untuned models as rubric judges on a sample of the reader's kept-aside rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from reader_card import SCORED, correlation, level, sides, table_of, wins
from reader_rows import DOMAIN, OWN_DOMAIN

from spillover.judgements.judge import Answer
from spillover.judgements.judges.local_model.judge import LocalModel
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.models.catalogue import base_of
from spillover.models.precision import native_precision

PORTION = 10  # answers that are scored before they are kept
LEAST_MASS = 0.0  # on numbers: small models put little there, and would have no score


def sampled(table: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """About `count` rows, evenly over splits; both sides of a pair together."""
    random, splits = np.random.default_rng(seed), [s for s in (*SCORED, DOMAIN) if (table.split == s).any()]
    parts = []
    for split in splits:
        here = table[table.split == split]
        paired = here[here.pair != ""].pair.unique()
        each = count // len(splits)
        if len(paired):
            parts.append(here[here.pair.isin(random.permutation(paired)[: each // 2])])
        else:
            parts.append(here.iloc[random.permutation(len(here))[:each]])
    return pd.concat(parts)


def scored(model: str, answers: Sequence[Answer], path: Path) -> list[float]:
    """Scores of an untuned model by the rubric `aligned`; kept in a file, a portion at a time, and not made twice."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    judge = LocalModel(
        model=base_of(model), rubrics=BuiltInRubrics(scored=("aligned",)), least_mass=LEAST_MASS,
        precision=native_precision(),
    )  # fmt: skip
    own = kept.setdefault(model, {})
    names = [sha256(json.dumps([answer.question, answer.answer]).encode()).hexdigest()[:20] for answer in answers]
    left = [place for place, name in enumerate(names) if name not in own]
    np.random.default_rng(0).shuffle(left)  # what a stop leaves is of all splits
    for start in range(0, len(left), PORTION):
        places = left[start : start + PORTION]
        for place, (score,) in zip(places, judge.score([answers[place] for place in places]), strict=True):
            own[names[place]] = score.score
        path.write_text(json.dumps(kept))
        print(f"{model}: {start + len(places)} of {len(left)} answers", flush=True)
    return [np.nan if own[name] is None else own[name] for name in names]


def rubric_table(table: pd.DataFrame, models: Sequence[str], count: int, folder: Path) -> str:
    """Untuned models by the built-in rubric `aligned`, the reader and the embedded judge on the same rows."""
    rows = sampled(table, count).copy()
    answers = [Answer(row.question, row.answer) for row in rows.itertuples()]
    judges = {"reader": "score", "embedded": "embedded"}
    for name in models:
        rows[f"{name}_aligned"] = scored(name, answers, folder / "rubric_scores.json")
        judges[f"local-model:{name}, untuned"] = name
    rows.drop(columns=["question", "answer"]).to_parquet(folder / "rubric_judges.parquet")
    lines, known = [], rows[rows.label_aligned.notna()]
    for title, column in judges.items():
        cells: list[object] = [title, f"{correlation('aligned', column)(known):.2f} ({level(column)(known):+.0f})"]
        for split in SCORED:
            here = known[known.split == split]
            if (rows.split == split).any():
                cells.append(f"{correlation('aligned', column)(here):.2f} ({level(column)(here):+.0f})")
        for split in (OWN_DOMAIN, DOMAIN):
            pairs = sides(rows[rows.split == split])
            if len(pairs):
                cells.append(f"{wins(column)(pairs):.2f} of {len(pairs)}")
        lines.append(cells)
    head = [
        "judge",
        "all with labels: r (level)",
        *(f"{split}: r (level)" for split in SCORED if (rows.split == split).any()),
    ]
    head += [f"{split}: P" for split in (OWN_DOMAIN, DOMAIN) if (rows.split == split).any()]
    return f"{len(rows)} rows drawn evenly over the splits.\n\n{table_of(head, lines)}"
