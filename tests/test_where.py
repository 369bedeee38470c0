from __future__ import annotations

from pathlib import Path

import pytest

from pulsar_arm.errors import UsageError
from pulsar_arm.host.emulation import Emulator
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64
from pulsar_arm.verify import Subject
from pulsar_arm.where import open_machine

EMULATOR = Emulator(AARCH64, "/usr/bin/qemu-aarch64-static")


def subject(root: Path) -> Subject:
    return Subject("made.tar.gz", root, root / "pulsar", {}, "0", None)


@pytest.mark.parametrize("level", ["static", "load"])
def test_the_levels_that_run_no_program_need_no_place(tmp_path: Path, level: str) -> None:
    with open_machine(subject(tmp_path), level, "engine", EMULATOR, Silent()) as machine:  # type: ignore[arg-type]
        assert machine is None


def test_an_engine_is_not_asked_to_run_what_is_no_image(tmp_path: Path) -> None:
    opened = open_machine(subject(tmp_path), "probe", "engine", EMULATOR, Silent())
    with pytest.raises(UsageError, match=r"made\.tar\.gz is no image"), opened:
        pass
