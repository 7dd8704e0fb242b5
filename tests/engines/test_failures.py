"""What could not be made is kept with its reason until it was; the command line shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spillover.cli.listing import list_failures
from spillover.cli.running import _engine
from spillover.engines.cluster import Share, _options
from spillover.engines.failures import failures
from spillover.engines.local import run
from spillover.models.catalogue import base_of
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.store import Artefact, BuildContext, Store


class Willing(Artefact):
    """Made once a file stands somewhere."""

    wants: str

    def make(self, context: BuildContext) -> None:
        if not Path(self.wants).exists():
            raise ValueError(f"no file at\x1b[31m {self.wants}")
        (context.folder / "x").write_text("x")


def test_it_is_kept_shown_and_forgotten_once_made(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made = Willing(wants=str(tmp_path / "file"))
    for _ in range(2):
        with pytest.raises(ValueError, match="no file at"):
            run(made, store)
    (failure,) = failures(store)
    assert (failure.kind, failure.fingerprint) == ("Willing", made.fingerprint)
    assert "no file at" in failure.error and "in make" in failure.trace
    list_failures(store)
    printed = capsys.readouterr().out
    assert (
        made.fingerprint[:8] in printed
        and "no file at" in printed
        and "\x1b" not in printed
        and "1 artefacts" in printed
    )
    (tmp_path / "file").touch()
    run(made, store)
    assert failures(store) == []


def test_a_torn_record_hides_no_other(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        run(Willing(wants=str(tmp_path / "file")), store)
    (store.root / "failed" / "Torn-00.json").write_text('{"kind": "To')
    assert [failure.kind for failure in failures(store)] == ["Willing"]


def test_a_task_with_a_network_takes_its_part_of_a_gpu_and_workers_of_its_base() -> None:
    asked = Responses(model=base_of("tiny:0"), questions=QuestionSelection(source=FreeForm()))
    options = _options(asked, Share(cpus=2.0, gpus=0.5, more={"fast": 1.0}))
    assert (options["num_cpus"], options["num_gpus"], options["resources"]) == (2.0, 0.5, {"fast": 1.0})
    assert options["runtime_env"] == {"env_vars": {"SPILLOVER_BASE": base_of("tiny:0").fingerprint}}
    assert "num_gpus" not in _options(Willing(wants="x"), Share(gpus=0.5))


def test_engines_are_named() -> None:
    assert _engine("here", None, 1.0, 0.0) is run
    assert _engine("ray", "auto", 1.0, 0.5).keywords == {"address": "auto", "share": Share(1.0, 0.5)}
    with pytest.raises(ValueError, match="no engine 'spark': there are here"):
        _engine("spark", None, 1.0, 0.0)
    with pytest.raises(ValueError, match="--address is that of a Ray cluster"):
        _engine("here", "auto", 1.0, 0.0)
