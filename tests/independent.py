#!/usr/bin/env python3
"""Say what a distribution lacks on aarch64 without any of our code: by tar, unzip and readelf alone.

    tests/independent.py FILE...          prints the text of a golden file for each
    tests/independent.py -o DIR FILE...   writes them there

Everything but classes and texts is unpacked, archives inside too, and every ELF file is shown to readelf.
What a loader would ask for is guessed from the x86_64 file beside it, by a rule of its own: the same path
with the word for the machine exchanged. So the goldens and `scan` can only agree where both are right.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# How loaders call x86_64 and, instead of it, aarch64.
SPELLINGS = {
    "x86_64": ("aarch64", "aarch_64", "arm64"),
    "x86-64": ("aarch64",),
    "amd64": ("aarch64", "arm64"),
    "linux64": ("linux-aarch64", "linux64/aarch64"),
}
OTHERS = re.compile(r"sunos|solaris|freebsd|openbsd|netbsd|dragonfly|aix|android", re.I)
# SHA-256 of aarch64 libraries that load and compute wrong: snappy-java 1.1.7 (its issues 209 and 213).
BROKEN = {"97b0bfde6c3b93f9ad0babfee2dc8527b070484166711e6297319a6c24e280cb"}
TEXTS = ("class", "html", "js", "css", "svg", "xml", "xsd", "properties", "java", "proto", "json")
FAMILIES = ("CXXABI", "GLIBC", "GLIBCXX")


def unpack(source: Path, root: Path) -> None:
    """`root` as the distribution's top folder, each archive as a folder of its own name and a `!`."""
    if source.name.endswith(".tar.gz"):
        root.mkdir()
        subprocess.run(["tar", "-xzf", source, "-C", root, "--strip-components=1"], check=True)
    else:
        folder = root / f"{source.name}!"
        folder.mkdir(parents=True)
        unzip(source, folder)
    todo = [root]
    while todo:
        for path in sorted(todo.pop().rglob("*")):
            if path.is_file() and not path.is_symlink() and begins(path, b"PK\x03\x04"):
                inside = path.with_name(f"{path.name}!")
                inside.mkdir()
                unzip(path, inside)
                path.unlink()
                todo.append(inside)


def unzip(archive: Path, folder: Path) -> None:
    done = subprocess.run(
        ["unzip", "-qq", "-o", archive, "-x", *(f"*.{one}" for one in TEXTS), "-d", folder],
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1, 11), done.stderr  # warnings, or nothing but classes in it


def begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def readelf(path: Path) -> str:
    return subprocess.run(
        ["readelf", "-W", "-h", "-l", "-d", "-V", path], capture_output=True, text=True, check=False
    ).stdout


def facts(told: str) -> str:
    """One line of what the loader looks at, as readelf tells it."""
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", told)
    # GCC's own library has versions named GLIBC_2.0, on musl too: they tell nothing of the C library.
    files = re.split(r"Version: 1  File: ", told.partition("Version needs section")[2])[1:]
    wants = "".join(one for one in files if not one.startswith("libgcc_s"))
    versions = []
    for family in FAMILIES:
        found = re.findall(rf"Name: {family}_([0-9.]+) ", wants)
        if found:
            highest = max(found, key=lambda one: [int(part) for part in one.split(".")])
            versions.append(f"{family}_{highest}")
    aligns = [str(int(row.split()[-1], 16)) for row in re.findall(r"^ +LOAD .*", told, re.M)]
    words = [
        f"needs {','.join(needed) or '-'}",
        f"versions {','.join(versions) or '-'}",
        f"aligned {','.join(aligns)}",
    ]
    words += ["executable-stack"] if re.search(r"GNU_STACK .*RWE", told) else []
    words += ["text-relocations"] if re.search(r"\(TEXTREL\)|\(FLAGS\).*TEXTREL", told) else []
    return "; ".join(words)


def class_path(location: str) -> str:
    """The folder or the archive that stands on one class path with the file's own archive."""
    inside = location.rsplit("!/", 1)[0] if "!/" in location else location
    return inside.rpartition("/")[0] if "!/" not in inside else inside.rpartition("!/")[0]


def asked(entry: str) -> list[str]:
    """What the loader of this x86_64 file would ask for on aarch64."""
    for word, others in SPELLINGS.items():
        if word in entry:
            return [entry.replace(word, other) for other in others]
    return [entry]


def check(root: Path) -> Iterator[str]:
    libraries: dict[str, str] = {}
    rows = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file() or not begins(path, b"\x7fELF"):
            continue
        location = str(path.relative_to(root))
        told = readelf(path)
        machine = (re.findall(r"Machine: +(.*)", told) or ["?"])[0]
        system = (re.findall(r"OS/ABI: +(.*)", told) or ["?"])[0]
        android = re.search(r"\(NEEDED\).*\[lib(log|android)\.so\]|Name: LIBC ", told)
        unmarked = system.endswith(("System V", "GNU", "Linux"))
        if OTHERS.search(location.rpartition("!/")[2]) or android or not unmarked:
            continue
        libraries[location] = machine
        row = f"{machine}: {location}"
        if machine == "AArch64":
            row += f"; {facts(told)}"
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest in BROKEN:
                yield f"broken: {location.rpartition('!/')[0]}"
        rows.append(row)
    there = {
        (class_path(location), location.rpartition("!/")[2])
        for location, machine in libraries.items()
        if machine == "AArch64"
    }
    lacking = set()
    for location, machine in libraries.items():
        where, entry = class_path(location), location.rpartition("!/")[2]
        if "X86-64" in machine and not any((where, name) in there for name in asked(entry)):
            lacking.add(location.rpartition("!/")[0] or location)
    yield from (f"missing: {location}" for location in sorted(lacking))
    yield from rows


def golden(source: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="independent-") as folder:
        unpack(source, Path(folder, "root"))
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return "\n".join([f"{source.name} sha256:{digest}", *check(Path(folder, "root"))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", dest="out", type=Path)
    words = parser.parse_args()
    for source in words.files:
        if words.out:
            (words.out / f"{source.name}.txt").write_text(golden(source))
        else:
            sys.stdout.write(golden(source))


if __name__ == "__main__":
    main()
