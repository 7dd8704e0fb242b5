"""A training killed at any moment goes on to the bytes of one that was not; a state that is not sound is not used."""

import os
import random
import signal
import warnings
from pathlib import Path

import pytest
import torch
from fakes import begin, hurt
from organisms.toy import organism

from spillover.manifest import MANIFEST, checksums
from spillover.organisms import resume, training
from spillover.organisms.organism import Organism
from spillover.organisms.tuning import LoRA
from spillover.store import Store

MADE = organism(
    batch=2, accumulate=2, epochs=2, tuning=LoRA(rank=4, alpha=8.0, dropout=0.2), checkpoint_steps=(2, 5)
)  # 8 steps, and random numbers in each


@pytest.fixture(autouse=True)
def _a_state_after_every_step(monkeypatch):
    monkeypatch.setenv(resume.INTERVAL, "0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """What a training that nobody disturbs leaves."""
    return contents(Store.open(tmp_path_factory.mktemp("whole") / "store"), MADE)


def contents(store: Store, made: Organism) -> dict:
    return {name: file for name, file in checksums(store.get(made)).items() if name != MANIFEST}


def child_ends(action) -> int:
    """How a forked process ends that does something: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(begin(action), 0)[1])


def killed_after(store: Store, step: int) -> Path:
    """Begin the training in another process, killed once it has kept the state after `step`; the states' folder."""

    def action() -> None:
        keep = resume.ResumeState.keep

        def last(self, state, *rest):
            keep(self, state, *rest)
            if state.step == step:
                os.kill(os.getpid(), signal.SIGKILL)

        resume.ResumeState.keep = last
        store.get(MADE)

    assert child_ends(action) == -signal.SIGKILL
    return store.unfinished(MADE)


def steps_done(monkeypatch) -> list[int]:
    """The steps that are trained from now on, in this process."""
    done, step = [], training._step
    monkeypatch.setattr(training, "_step", lambda *given: done.append(given[2]) or step(*given))
    return done


@pytest.mark.parametrize("step", random.Random(5).sample(range(1, 8), 2))
def test_killed_after_a_step_it_goes_on_with_the_next_to_the_same_bytes(store, whole, monkeypatch, step):
    killed_after(store, step)
    assert [path.name for path in store.begun()] == [f"Organism-{MADE.fingerprint}"]
    assert not [path for path in store.leftovers() if "unfinished" in str(path)]
    with store.lock(MADE):  # a process that works on it has not stopped
        assert not store.begun()
    done = steps_done(monkeypatch)
    assert contents(store, MADE) == whole
    assert done == list(range(step + 1, 9))
    assert not store.begun() and not store.unfinished(MADE).exists()


def test_killed_anywhere_it_ends_in_the_same_bytes(store, whole):
    draw, deaths = random.Random(1), 0
    for at in sorted(draw.sample(range(20, 400), 4)):

        def action(at=at) -> None:
            hurt(at, "kill")
            store.get(MADE)

        deaths += child_ends(action) == 9
    assert deaths >= 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a state that was being written may be refused
        assert contents(store, MADE) == whole


def flip(path: Path, at: float = 0.7) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["tensors.safetensors", "manifest.json"])
def test_a_flipped_byte_is_refused_and_the_state_before_it_taken(store, whole, monkeypatch, name):
    folder = killed_after(store, 6)
    assert [path.name for path in sorted(folder.glob("step-*"))] == ["step-000005", "step-000006"]
    flip(folder / "step-000006" / name)
    done = steps_done(monkeypatch)
    with pytest.warns(UserWarning, match=r"a kept state of training is not used \(step-000006: "):
        assert contents(store, MADE) == whole
    assert done == [6, 7, 8]


def test_a_torn_state_is_refused_and_without_any_it_begins_anew(store, whole, monkeypatch):
    folder = killed_after(store, 3)
    for snapshot in folder.glob("step-*"):
        path = snapshot / "tensors.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    done = steps_done(monkeypatch)
    with pytest.warns(UserWarning, match="bytes were written|bytes, .* were written"):
        assert contents(store, MADE) == whole
    assert done == list(range(1, 9))


def test_a_state_whose_checkpoint_changed_is_refused(store, whole, monkeypatch):
    folder = killed_after(store, 5)
    flip(folder / "checkpoints" / "step-000005" / "adapter_model.safetensors")
    done = steps_done(monkeypatch)
    with pytest.warns(UserWarning, match="its checkpoint step-000005 is not as it was written"):
        assert contents(store, MADE) == whole
    assert done == [5, 6, 7, 8]


def test_another_version_of_a_library_does_not_go_on(store, whole, monkeypatch):
    killed_after(store, 4)
    monkeypatch.setattr(training, "versions", lambda: {"torch": "0.1"})
    done = steps_done(monkeypatch)
    with pytest.warns(UserWarning, match="it was kept with another libraries"):
        assert contents(store, MADE) == whole
    assert done[0] == 1


def test_without_its_random_numbers_it_would_end_elsewhere(store, whole, monkeypatch):
    """The negative control: what is compared does depend on what is restored."""
    killed_after(store, 4)
    monkeypatch.setattr(torch.random, "set_rng_state", lambda state: None)
    ended = contents(store, MADE)
    assert ended != whole and ended.keys() == whole.keys()


def test_states_are_kept_by_the_clock_and_cost_little_of_it(monkeypatch, tmp_path):
    monkeypatch.setenv(resume.INTERVAL, "60")
    now = [100.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    state = resume.ResumeState(tmp_path, {})
    assert not state.due()
    now[0] += 61
    assert state.due()
    state.last, state.seconds = now[0], 10.0  # a large model: 10 seconds to write
    now[0] += 499
    assert not state.due()
    now[0] += 2
    assert state.due()


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_bad_interval_is_named(monkeypatch, tmp_path, text):
    monkeypatch.setenv(resume.INTERVAL, text)
    with pytest.raises(ValueError, match=rf"\$SPILLOVER_RESUME_SECONDS is the seconds .*; got '{text}'"):
        resume.ResumeState(tmp_path, {})


def test_a_full_disk_does_not_stop_a_training(store, whole, monkeypatch):
    monkeypatch.setattr(resume.ResumeState, "_write", lambda *given: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.warns(UserWarning, match=r"no state to go on from could be kept \(disk full\); training goes on"):
        assert contents(store, MADE) == whole
