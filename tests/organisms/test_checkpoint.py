"""Checkpoints as values: which there are, and that they open without what they were made from."""

import json

import pytest
from organisms.toy import ToyRows, organism


def test_a_checkpoint_that_is_not_kept_is_refused():
    with pytest.raises(ValueError, match="no checkpoint at step 3; kept are 2, 4"):
        organism(checkpoint_every=2).checkpoint(3)


def test_the_spec_of_a_checkpoint_opens_without_its_data(monkeypatch):
    """A store lists and verifies what it holds after a user's file went away."""
    checkpoint = organism().checkpoint()
    monkeypatch.setattr(ToyRows, "examples", lambda self: pytest.fail("the data was read"))
    again = type(checkpoint).from_json(checkpoint.to_json())
    assert again == checkpoint and json.loads(again.to_json())["step"] == 4
    assert again.organism.cost().units > 0 and again.organism.summary()
