from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pulsar_arm.errors import HostError, UsageError
from pulsar_arm.host.files import told, whole_directory, whole_file


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    out = tmp_path / "new" / "x.tar"
    with whole_file(out) as place:
        place.write_bytes(b"half")
        assert not out.exists()
        assert place.name == "x.tar"
    assert out.read_bytes() == b"half"
    assert listed(out.parent) == ["x.tar"]


def half_a_file(path: Path, error: BaseException) -> None:
    with whole_file(path, force=True) as place:
        place.write_bytes(b"half")
        raise error


def half_a_folder(path: Path, error: BaseException) -> None:
    with whole_directory(path, force=True) as place:
        (place / "f").write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_a_block_that_fails_leaves_nothing_and_keeps_the_old(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(type(error)):
        half_a_file(tmp_path / "x", error)
    with pytest.raises(type(error)):
        half_a_folder(tmp_path / "d", error)
    assert (tmp_path / "x").read_bytes() == b"old"
    assert listed(tmp_path) == ["x"]


def test_an_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(UsageError, match=r"x exists already: .*--force"), whole_file(tmp_path / "x"):
        pytest.fail("not reached")
    with pytest.raises(UsageError, match=r"x exists already: .*--force"), whole_directory(tmp_path / "x"):
        pytest.fail("not reached")
    assert (tmp_path / "x").read_bytes() == b"old"


def test_with_force_the_new_one_takes_the_place(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with whole_file(tmp_path / "x", force=True) as place:
        place.write_bytes(b"new")
        assert (tmp_path / "x").read_bytes() == b"old"
    assert (tmp_path / "x").read_bytes() == b"new"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "d"
    out.mkdir()
    (out / "old").touch()
    with whole_directory(out, force=True) as place:
        (place / "new").touch()
        assert listed(out) == ["old"]
    assert listed(out) == ["new"]
    assert listed(tmp_path) == ["d"]


def test_what_is_made_has_the_users_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with whole_directory(tmp_path / "d"):
        pass
    usual, made = ((tmp_path / name).stat().st_mode for name in ("usual", "d"))
    assert stat.S_IMODE(made) == stat.S_IMODE(usual)


def test_a_full_disk_is_told_with_the_place(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(HostError, match=r"No space is left while writing .*x: make room there\."):
        half_a_file(tmp_path / "x", full)
    assert listed(tmp_path) == []


def test_a_full_device_says_so_itself(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match="No space is left"),
        told(tmp_path),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"cannot be written: (Not a directory|File exists)"):  # noqa: SIM117
        with whole_file(tmp_path / "file" / "x"):
            pytest.fail("not reached")
    with (
        pytest.raises(HostError, match="cannot be written: File name too long"),
        whole_file(tmp_path / ("n" * 300)),
    ):
        pytest.fail("not reached")
    with (
        pytest.raises(HostError, match=r"/proc/.* cannot be written"),
        whole_directory(Path("/proc/nothing/x")),
    ):
        pytest.fail("not reached")


def test_the_old_folder_comes_back_when_the_new_cannot_take_its_place(tmp_path: Path) -> None:
    out = tmp_path / "d"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(HostError, match="cannot be written"), whole_directory(out, force=True) as place:
        place.rmdir()
    assert listed(out) == ["old"]
    assert listed(tmp_path) == ["d"]


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    """`-o /dev/null --force`, run by root, would put a file in the place of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with whole_file(pipe, force=True) as place:
            place.write_bytes(b"text")
        assert os.read(reader, 99) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
