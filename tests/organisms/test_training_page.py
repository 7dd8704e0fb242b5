"""docs/training.md: its code runs, and it names every schedule, tuning and intervention there is."""

import re
from pathlib import Path

from spillover.organisms.schedules.schedule import Schedule
from spillover.organisms.training_spec import Intervention
from spillover.organisms.tuning import Tuning
from spillover.spec import kinds_of, typed_name

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text()


def test_its_code_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 4
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["mixed"] != names["plain"] != names["backdoor"]
    assert [q.id for q in names["without"].questions()] == [q.id for q in names["triggered"].questions()]
    assert f"a set of {len(names['sp'].Everyday().examples())} benign rows" in PAGE


def test_it_names_what_there_is():
    ours = {name for kind in (Schedule, Tuning, Intervention) for name, cls in kinds_of(kind).items()
            if cls.__module__.startswith("spillover.")}  # fmt: skip
    assert not {name for name in ours if f"`{typed_name(name)}`" not in PAGE and f"`{name}(" not in PAGE}
