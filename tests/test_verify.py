from __future__ import annotations

import platform as machine
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from builders_base import shared_library
from test_boot import READY, Made, Told

from pulsar_arm.catalog import Catalog
from pulsar_arm.checks import Check, Level
from pulsar_arm.host.emulation import Emulator
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import PLATFORMS, platform
from pulsar_arm.verify import Subject, verify

HERE = platform(machine.machine())
OTHER = next(one for one in PLATFORMS if one is not HERE)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """This machine's own loader and C library, with a distribution whose class path is empty."""
    root = (tmp_path / "root").resolve()
    libc = re.search(r"/\S*/libc\.so\.6$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    assert libc is not None
    files = {
        HERE.loader: HERE.loader,
        f"/usr/lib/{HERE.triplet}/libc.so.6": libc[0],
        "/usr/bin/true": "/bin/true",
    }
    for place, origin in files.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin, target)
    (root / "pulsar/lib").mkdir(parents=True)
    return Subject("made", root, root / "pulsar", {}, "0", None)


def jar(subject: Subject, name: str, **natives: int) -> None:
    """A jar with a library for each machine."""
    with zipfile.ZipFile(subject.home / "lib" / f"{name}-1.0.jar", "w") as archive:
        for place, elf_machine in natives.items():
            archive.writestr(f"{place}/lib{name}.so", shared_library(elf_machine, ["libc.so.6"]))


def verified(
    subject: Subject, catalog: Catalog, level: Level = "load", made: Made | None = None
) -> list[Check]:
    proof = verify(subject, level, catalog, HERE, Emulator(HERE, ""), Silent(), made, 0)
    return [check for check in proof.checks if check.level != "static"]


def test_what_a_library_needs_is_listed_with_where_it_was_found(subject: Subject, catalog: Catalog) -> None:
    jar(subject, "made", here=HERE.elf_machine)
    (check,) = verified(subject, catalog)
    assert check.outcome == "passed"
    assert f"libc.so.6 of /usr/lib/{HERE.triplet}" in check.evidence


def test_a_library_that_is_not_there_fails_with_what_the_loader_says_to_the_other(
    subject: Subject, catalog: Catalog
) -> None:
    jar(subject, "made", other=OTHER.elf_machine)
    (check,) = verified(subject, catalog)
    assert (check.outcome, check.subject) == ("failed", "lib/made-1.0.jar!/other/libmade.so")
    assert check.evidence.startswith(f"made 1.0 has no library for {HERE.name}: ")
    assert "libmade.so" in check.evidence.partition(f"ld.so says to that of {OTHER.name}: ")[2]


def test_a_server_is_not_started_when_its_libraries_fail(subject: Subject, catalog: Catalog) -> None:
    jar(subject, "made", other=OTHER.elf_machine)
    codecs = "".join(f"@begin codec:{name}\n@passed codec:{name} fine\n" for name in ("LZ4", "ZLIB", "ZSTD"))
    told = Told(f"@begin JVM\n@passed JVM Java 8\n{codecs}@begin codec:SNAPPY\n@passed codec:SNAPPY fine\n")
    made = Made(Told(READY, None), {"lib/*": told})
    last = verified(subject, catalog, "boot", made)[-1]
    assert (last.level, last.outcome) == ("boot", "skipped")
    assert last.evidence.startswith("not started, since this fails already: ")
    assert not any("standalone" in argv for argv, _env, _told in made.started)
