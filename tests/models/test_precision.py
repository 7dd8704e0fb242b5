"""What `auto` becomes, on processors with and without bfloat16; and that specs hold what it became."""

from __future__ import annotations

import platform

import pytest
import torch
from organisms.toy import organism

from spillover.models import precision
from spillover.models.precision import multiplies_bfloat16, native_precision
from spillover.organisms.tuning import Full
from spillover.responses.sampling import Sampling
from spillover.spec import Spec, decode, encode


@pytest.fixture(params=[True, False])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: request.param)
    return bool(request.param)


def test_auto_is_named_when_a_spec_is_read(native: bool) -> None:
    wanted = "bfloat16" if native else "float32"
    assert native_precision() == wanted
    for spec in (Sampling(precision="auto"), organism(precision="auto")):
        assert spec.precision == wanted
        assert spec == spec.but(precision=wanted) and "auto" not in spec.to_json().split('"precision":')[1][:12]


def test_a_study_keeps_its_precision_where_the_processor_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: True)
    there: Spec = organism(precision="auto")
    written = encode(there)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: False)
    assert decode(written) == there and decode(written).precision == "bfloat16"


def test_the_processor_is_asked_what_it_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for avx, amx in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert multiplies_bfloat16("cpu") == (avx or amx)
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, has=capability: has)
        assert multiplies_bfloat16("cuda:0") == (capability >= (8, 0))


def test_what_reads_with_autocast_reads_in_float32() -> None:
    assert Sampling(precision="autocast-bfloat16") == Sampling(precision="float32")
    with pytest.raises(ValueError, match=r"Sampling\.precision: .*'float32' or 'bfloat16', got 'half'"):
        Sampling(precision="half")


def test_all_weights_are_not_trained_in_bfloat16() -> None:
    with pytest.raises(ValueError, match="Full trains all weights, which stay float32: use autocast-bfloat16"):
        organism(tuning=Full(), precision="bfloat16")
