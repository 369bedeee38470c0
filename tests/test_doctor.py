"""What the doctor says of a machine with nothing installed, and of one with everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def doctor(path: Path, *words: str, cwd: Path) -> tuple[int, str]:
    """Run the command with the programs of `path` only, and a repository that does not answer."""
    done = subprocess.run(
        [sys.executable, "-m", "pulsar_arm", "--maven-url", "http://127.0.0.1:9", "doctor", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PATH": str(path), "PYTHONPATH": str(Path(__file__).parent.parent), "HOME": str(cwd)},
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def abilities(path: Path, cwd: Path) -> dict[str, dict[str, Any]]:
    _code, text = doctor(path, "--format", "json", cwd=cwd)
    return {row["subject"]: row for row in json.loads(text)["abilities"]}


def program(place: Path, name: str, script: str) -> None:
    path = place / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    place = tmp_path / "bin"
    place.mkdir()
    return place


def test_a_machine_with_nothing_is_told_each_command_that_mends_it(bare: Path, tmp_path: Path) -> None:
    found = abilities(bare, tmp_path)
    assert found["mmdebstrap"]["state"] == "missing"
    assert found["mmdebstrap"]["mend"] == "apt-get install --no-install-recommends mmdebstrap"
    assert found["Docker Engine"]["optional"]
    assert "docker.io" in found["Docker Engine"]["mend"]
    assert found["Maven repository"]["state"] == "missing"
    assert "--maven-url" in found["Maven repository"]["mend"]
    if os.uname().machine != "aarch64":
        assert "qemu-user-static" in found["emulation"]["mend"]


def test_what_is_missing_for_the_main_job_gives_exit_code_1_and_is_named_first(
    bare: Path, tmp_path: Path
) -> None:
    code, text = doctor(bare, cwd=tmp_path)
    assert code == 1
    assert text.startswith("scan, port, build or verify lack: Maven repository")


def test_programs_that_answer_are_told_with_their_versions(bare: Path, tmp_path: Path) -> None:
    program(bare, "mmdebstrap", "echo mmdebstrap 1.3.5")
    program(bare, "podman", "echo podman version 4.3.1")
    program(
        bare, "docker", 'case "$1" in version) echo "20.10.24 for linux/amd64";; *) echo buildx 0.13;; esac'
    )
    found = abilities(bare, tmp_path)
    seen = {name: found[name]["seen"] for name in ("mmdebstrap", "podman", "Docker Engine", "buildx")}
    assert seen == {
        "mmdebstrap": "mmdebstrap 1.3.5",
        "podman": "podman version 4.3.1",
        "Docker Engine": "20.10.24 for linux/amd64",
        "buildx": "buildx 0.13",
    }
    assert {found[name]["state"] for name in seen} == {"fine"}


def test_an_engine_that_does_not_answer_is_told_in_its_own_words(bare: Path, tmp_path: Path) -> None:
    program(bare, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    found = abilities(bare, tmp_path)["Docker Engine"]
    assert found["state"] == "missing"
    assert found["seen"] == "Cannot connect to the Docker daemon"
    assert "systemctl start docker" in found["mend"]


def test_a_client_without_a_server_is_no_engine(bare: Path, tmp_path: Path) -> None:
    """docker version prints its own half before it fails."""
    program(bare, "docker", "echo; echo 'no server' >&2; exit 1")
    assert abilities(bare, tmp_path)["Docker Engine"]["seen"] == "no server"
