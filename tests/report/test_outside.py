"""The report says which share of the answers is unlike all that their judge was fitted on, where a judge can tell."""

from __future__ import annotations

from dataclasses import dataclass

from spillover.report.provenance_section import outside_texts


@dataclass(frozen=True)
class Judged:
    """What is asked of judged answers."""

    judge_name: str
    outside: object


class Manifests:
    """A store that has manifests alone."""

    def manifest(self, judged: Judged) -> dict[str, object]:
        return {"facts": {"outside": judged.outside}}


def test_shares_are_weighed_by_answers() -> None:
    sets = [
        Judged("reader/1", {"answers": 300, "share": 0.1}),
        Judged("reader/1", {"answers": 100, "share": 0.5}),
        Judged("reader/1", {"answers": 0, "share": None}),
        Judged("local/1", {"aligned": 0.2}),
        Judged("embedded/1", None),
    ]
    (text,) = outside_texts(sets, Manifests())  # type: ignore[arg-type]
    assert "20.0% of 400 answers" in text and "reader/1" in text and "50.0% at most" in text
    assert outside_texts(sets[2:], Manifests()) == []  # type: ignore[arg-type]
