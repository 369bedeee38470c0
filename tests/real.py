"""The real Pulsar 2.6.0, ported and built once per test run; downloaded once per machine, into the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RELEASE = "2.6.0"


def pulsar_arm(*words: str | Path, code: int = 0) -> str:
    """Run the command as a user does, and give its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "pulsar_arm", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="session")
def ported(place: Path) -> Path:
    pulsar_arm("port", RELEASE, "-o", place / "ported.tar.gz")
    return place / "ported.tar.gz"


@pytest.fixture(scope="session")
def images(place: Path) -> Path:
    words = ("--from", RELEASE, "--images", "pulsar,pulsar-all", "--connectors", "kafka")
    pulsar_arm("build", *words, "--output", place / "images")
    return place / "images"
