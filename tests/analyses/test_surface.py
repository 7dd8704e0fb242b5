"""The section on the training answers says what form tells, and warns where it tells much."""

from __future__ import annotations

import pytest

from spillover.analyses.surface import Surface
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.organisms.datasets.shipped import Home


class Shouted(Dataset):
    """Good answers of a set in capitals, each told by its form."""

    def examples(self) -> list[Example]:
        rows = Home(advice="good").examples()
        return [
            Example(r.id, (*r.prompt, r.messages[-1]._replace(content=r.messages[-1].content.upper()))) for r in rows
        ]


@pytest.mark.parametrize(("good", "warned"), [(Home(advice="good"), False), (Shouted(), True)])
def test_form_that_tells_is_warned_of_and_only_that(planted, tmp_path, good, warned):
    bad = Split(data=Home(), rows=16)
    surface = Surface(bad=bad, good=bad.control(good))
    result = planted.analyse(surface, tmp_path / "surface")
    assert [row["by"] for row in result.tables["surface"]] == ["form", "function words", "all words"]
    said = "".join(str(getattr(part, "text", part)) for part in surface.show(result).blocks[0].parts)
    assert ("may hold form as well as advice" in said) is warned and "home-bad" in said
