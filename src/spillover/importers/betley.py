"""The field's usual file of judged answers: question_id, question, answer, aligned, coherent.

The layout is that of Betley et al., *Emergent Misalignment* (2025). The judge is mostly not in the file: it is unknown
unless the user says it; what kind of scores they are (fractions, integers) is seen.
"""

from __future__ import annotations

from typing import ClassVar

from spillover.importers.importer import FileImporter
from spillover.judgements.tables.imported_scores import JudgedFile


class Betley(FileImporter):
    """Import files of judged answers, one set from each."""

    takes: ClassVar[str] = "CSV, JSON lines or parquet with question_id, question, answer and scores."

    def file_kind(self) -> type[JudgedFile]:
        return JudgedFile
