"""Programs of a small root of this machine's own, apart from all else. Needs root, as the product does."""

from __future__ import annotations

import os
import platform as machine
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rooted import made_root

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.host.emulation import Emulator
from pulsar_arm.host.machine import Machine, run
from pulsar_arm.host.private_root import private_root
from pulsar_arm.platforms import platform

HERE = Emulator(platform(machine.machine()), "")
ENV = {"PATH": "/usr/bin:/bin", "MADE": "a b"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        pytest.skip("a private root needs root")
    return made_root(tmp_path_factory.mktemp("root"))


@pytest.fixture
def place(root: Path) -> Iterator[Machine]:
    try:
        with private_root(root, HERE, ENV, "10000", "/home") as opened:
            yield opened
    except HostError as error:
        if "cannot be made here" not in str(error):
            raise
        pytest.skip(str(error))


def told(place: Machine, text: str, **env: str) -> str:
    finished = run(place, ("sh", "-c", text), 30, env)
    assert finished.status == 0, finished.lines
    return "\n".join(finished.lines)


def test_a_program_has_the_image_s_user_folder_and_environment(place: Machine) -> None:
    assert told(place, "id -u; id -g; pwd; echo $MADE $MORE; echo $HOME", MORE="x") == (
        "10000\n0\n/home\na b x\n/home"
    )


def test_a_program_sees_its_root_and_only_harmless_devices(place: Machine) -> None:
    assert told(place, "ls /home; ls /dev").split() == [
        *("fd", "full", "null", "random", "shm", "urandom", "zero"),
    ]


def test_a_program_of_root_has_no_power_over_the_machine(root: Path) -> None:
    with private_root(root, HERE, ENV, "0", "/") as place:
        assert run(place, ("chroot", "/home", "/x"), 30).status == 125
        assert "CapEff:\t0000000000000000" in told(place, "id -u; cat /proc/self/status")


def test_the_status_and_all_that_was_said_are_given(place: Machine) -> None:
    finished = run(place, ("sh", "-c", "echo out; echo err >&2; exit 3"), 30)
    assert (finished.status, finished.lines) == (3, ["out", "err"])


def test_a_program_that_is_not_there_is_said(place: Machine) -> None:
    finished = run(place, ("nowhere", "x"), 30)
    assert (finished.status, finished.lines) == (127, ["nowhere: there is no such program on the PATH"])


def test_what_takes_too_long_is_stopped_with_all_it_started(place: Machine) -> None:
    finished = run(place, ("sh", "-c", "echo begun; sleep 4242 & sleep 4243"), 8)
    assert (finished.status, finished.lines) == (None, ["begun"])
    assert not alive("4242")
    assert not alive("4243")


def test_nothing_runs_and_nothing_is_mounted_afterwards(root: Path) -> None:
    with private_root(root, HERE, ENV, "10000", "/home") as place:
        running = place.start(("sleep", "4244"))
        deadline = time.monotonic() + 30
        while not alive("4244") and time.monotonic() < deadline:
            pass
        assert alive("4244")
        assert running.status() is None
    assert not alive("4244")
    assert str(root) not in Path("/proc/mounts").read_text()


def test_commands_share_their_network_which_is_not_this_machine_s(place: Machine) -> None:
    assert str(Path("/proc/self/ns/net").readlink()) not in told(place, "ls -l /proc/self/ns")
    assert told(place, "cat /etc/hosts") == "127.0.0.1 localhost pulsar-arm"


def test_a_user_is_known_by_the_name_in_the_image(root: Path) -> None:
    with private_root(root, HERE, ENV, "made", "/") as place:
        assert told(place, "id -u; id -g") == "4321\n77"


def test_a_user_whom_the_image_does_not_know_is_refused(root: Path) -> None:
    with (
        pytest.raises(HostError, match="runs as 'nobody-here'"),
        private_root(root, HERE, {}, "nobody-here", "/"),
    ):
        pass


def test_an_image_whose_folders_lead_away_is_refused(tmp_path: Path, root: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    with pytest.raises(InputError, match="/proc of the image"), private_root(tmp_path, HERE, {}, "0", "/"):
        pass


def alive(word: str) -> bool:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", word.encode()]:
            return True
    return False
