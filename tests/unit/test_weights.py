from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from vlm4rec_spark.descriptions import weights
from vlm4rec_spark.descriptions.weights import is_network, on_this_node


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a model that the kernel says is on a network's disk."""
    folder = tmp_path / "a volume"
    (folder / "model" / "tokenizer").mkdir(parents=True)
    (folder / "model" / "weights.safetensors").write_bytes(b"12345")
    (folder / "model" / "tokenizer" / "words").write_text("a b")
    (tmp_path / "local").mkdir()
    mounts = tmp_path / "mounts"
    point = str(folder).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nvolumes {point} fuse.goofys rw 0 0\n")
    monkeypatch.setattr(weights, "MOUNTS", mounts)
    return folder


def test_weights_of_a_volume_are_copied_to_the_node_once(volume: Path, tmp_path: Path) -> None:
    model, root = volume / "model", tmp_path / "node" / "weights"
    copy = Path(on_this_node(str(model), root))
    assert copy.parent == root
    assert (copy / "weights.safetensors").read_bytes() == b"12345"
    assert (copy / "tokenizer" / "words").read_text() == "a b"
    (copy / "mark").touch()
    assert on_this_node(str(model), root) == str(copy)
    assert (copy / "mark").exists()


def test_other_weights_in_the_same_folder_are_another_copy(volume: Path, tmp_path: Path) -> None:
    first = on_this_node(str(volume / "model"), tmp_path / "node")
    (volume / "model" / "weights.safetensors").write_bytes(b"123456")
    second = on_this_node(str(volume / "model"), tmp_path / "node")
    assert first != second
    assert (Path(second) / "weights.safetensors").read_bytes() == b"123456"


def test_a_copy_that_was_broken_off_is_made_anew(volume: Path, tmp_path: Path) -> None:
    copy = Path(on_this_node(str(volume / "model"), tmp_path / "node"))
    shutil.rmtree(copy)
    copy.with_name(f"{copy.name}.new").mkdir()
    again = Path(on_this_node(str(volume / "model"), tmp_path / "node"))
    assert (again / "weights.safetensors").read_bytes() == b"12345"


def test_a_local_folder_and_a_name_of_the_hub_stay_as_they_are(
    volume: Path, tmp_path: Path
) -> None:
    assert volume.exists()
    for model in (str(tmp_path / "local"), "org/model"):
        assert on_this_node(model, tmp_path / "node") == model
    assert not (tmp_path / "node").exists()


def test_without_room_the_weights_are_read_where_they_are(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's own
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 0, 9))
    model = str(volume / "model")
    assert on_this_node(model, tmp_path / "node") == model
    assert "No room for a copy" in caplog.text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nfs4", True),
        ("fuse", True),
        ("fuse.s3fs", True),
        ("ext4", False),
        ("fuseblk", False),
        ("fuse.fuse-overlayfs", False),
    ],
)
def test_a_folder_is_where_the_longest_mount_says(
    kind: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = tmp_path / "near", tmp_path / "nearby"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / nfs rw 0 0\nb {tmp_path} xfs rw 0 0\nc {near} {kind} rw 0 0\n")
    monkeypatch.setattr(weights, "MOUNTS", mounts)
    assert is_network(near / "model") is expected
    assert not is_network(far)
