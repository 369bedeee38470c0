"""The wheel carries the data folders, and finds them where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.real  # pip brings the build backend

ROOT = Path(__file__).parent.parent


def test_an_installed_wheel_holds_the_data_and_finds_it(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "build", "-q", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for folder in ("jar_overrides", "patches", "dockerfiles"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"pulsar_arm/data/{path.relative_to(ROOT)}" in packed
    venv.create(tmp_path / "venv", system_site_packages=True, with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True)
    asks = "from pulsar_arm.catalog import *; print(folder('patches'), len(load_catalog()))"
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = subprocess.check_output([python, "-c", asks], text=True, cwd=tmp_path, env=alone)
    found, count = told.split()
    assert Path(found).is_relative_to(tmp_path / "venv")
    assert int(count) == len(list((ROOT / "jar_overrides").glob("*.toml")))
