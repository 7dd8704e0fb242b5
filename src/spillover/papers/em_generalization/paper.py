"""What Shapes Emergent Misalignment? as a paper whose numbers can be computed anew."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from spillover.papers.paper import Paper, Reproduction, StageProgress


class EMGeneralizationPaper(Paper):
    """What Shapes Emergent Misalignment? (arXiv 2606.20814), from its files (aisa-group/em-generalization)."""

    name: ClassVar[str] = "em-generalization"
    help: ClassVar[str] = "What Shapes Emergent Misalignment? (arXiv 2606.20814), files of aisa-group/em-generalization"

    def reproduce(self, path: Path, progress: StageProgress = lambda stage, share: None) -> Reproduction:
        from spillover.papers.em_generalization.reproduce.reproduction import reproduce_release

        return reproduce_release(path, progress)
