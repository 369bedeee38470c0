"""The scan says what readelf says: `independent.py`, which has none of our code, wrote `tests/goldens`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real import RELEASE

from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.options import default_cache
from pulsar_arm.requirements import read_requirements

FOLDER = Path(__file__).parent / "goldens"
FIRST = f"pulsar-server-distribution-{RELEASE}-bin.tar.gz.txt"
GOLDENS = sorted(path.name for path in FOLDER.glob("pulsar-*.txt"))
MACHINES = {"AArch64": "aarch64", "Advanced Micro Devices X86-64": "x86_64"}
FAMILIES = ("CXXABI", "GLIBC", "GLIBCXX")
OTHERS = re.compile(r"sunos|solaris|freebsd|openbsd|netbsd|dragonfly|aix|android", re.IGNORECASE)


def fetched(golden: str) -> Path:
    """The file that a golden is about, out of the cache or the repository."""
    match = re.fullmatch(r"(.+?)-(\d[\d.]+)(-bin)?\.(tar\.gz|jar)\.txt", golden)
    assert match, golden
    artifact, version, binary, suffix = match.groups()
    words = ["org.apache.pulsar", artifact, version, *([suffix, "bin"] if binary else [])]
    return repository().fetch(Coordinate.parse(":".join(words))).path


def repository() -> Repository:
    return Repository(Path(os.environ.get("PULSAR_ARM_CACHE") or default_cache()), progress=Silent())


def told(golden: str) -> tuple[set[str], set[str]]:
    """The gaps, and the files of two machines, that readelf and unzip have found."""
    lines = (FOLDER / golden).read_text(encoding="utf-8").splitlines()[1:]
    gaps = {line for line in lines if line.startswith(("missing: ", "broken: "))}
    rows = {
        f"{MACHINES[name]}: {rest}"
        for name, _, rest in (line.partition(": ") for line in lines)
        if name in MACHINES
    }
    return gaps, rows


def found(report: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The same of a scan."""
    # A loose file is told once for each machine it is there for; what is compared is the usual one.
    rare = {one["location"] for one in report["libraries"] if one["machine"] != "x86_64"}
    gaps = {
        f"{gap['kind']}: {location}"
        for gap in report["gaps"]
        for location in gap["locations"]
        if location not in rare
    }
    rows = set()
    for one in report["libraries"]:
        entry = one["location"].rpartition("!/")[2]
        if (
            one["format"] != "elf"
            or one["system"] != "linux"
            or one["libc"] == "bionic"
            or OTHERS.search(entry)
        ):
            continue
        if one["machine"] == "x86_64":
            rows.add(f"x86_64: {one['location']}")
        elif one["machine"] == "aarch64":
            versions = [f"{name}_{one['requires'][name]}" for name in FAMILIES if name in one["requires"]]
            facts = [
                f"needs {','.join(one['needed']) or '-'}",
                f"versions {','.join(versions) or '-'}",
                f"aligned {','.join(map(str, one['load_aligns']))}",
                *(name for name in ("executable-stack", "text-relocations") if name in one["hazards"]),
            ]
            rows.add(f"aarch64: {one['location']}; {'; '.join(facts)}")
    return gaps, rows


def scanned(source: str | Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "pulsar_arm", "-q", "scan", str(source), "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


CHECKS = (FOLDER / "checks.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.goldens
@pytest.mark.parametrize("line", CHECKS)
def test_javap_says_the_same_of_a_platform_check(line: str) -> None:
    coordinate, entry, machines, vendor = line.split(" | ")
    (content,) = repository().read_entries(Coordinate.parse(coordinate), [entry]).values()
    found = read_requirements(content)
    assert found is not None
    assert (",".join(found.accepts), ",".join(found.vendors) or "-") == (machines, vendor)


@pytest.mark.real
def test_of_the_default_release_readelf_says_the_same() -> None:
    assert found(scanned(RELEASE)) == told(FIRST)


@pytest.mark.goldens
@pytest.mark.parametrize("golden", GOLDENS)
def test_readelf_says_the_same(golden: str) -> None:
    assert found(scanned(fetched(golden))) == told(golden)
