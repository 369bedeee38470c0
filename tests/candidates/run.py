"""Judge candidates, good and bad, then try each in a JVM on aarch64, and print both answers as a page.

    python tests/candidates/run.py CACHE glibc-2.41=ROOT:JAVA glibc-2.31=ROOT:JAVA > docs/candidates.md

ROOT is an unpacked system for aarch64 with that glibc, JAVA the aarch64 program `java` to start there: first
the usual system, with Java 8, then an older one. Run by hand, since it takes an hour: it needs
qemu-user-static, a JDK and two releases of Pulsar. One JVM runs at a time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pulsar_arm.candidate import Candidate, Ground, Objection, judge
from pulsar_arm.catalog import Action, Catalog, LoaderNames
from pulsar_arm.classpath import ClassPath, class_paths
from pulsar_arm.fitness import named_runtime
from pulsar_arm.formats.jar import put_entry
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.linkage import libraries
from pulsar_arm.options import Options
from pulsar_arm.releases import release
from pulsar_arm.scan import Gap

HERE = Path(__file__).parent
MINUTES = 10
PAGE = """\
# Candidates: judged, then tried

Written by `tests/candidates/run.py`: each jar was judged by `pulsar_arm/candidate.py` for a gap of a real
release, then put into the class path among all its other jars, objection or not, and used by a program
(`tests/candidates/Try.java`) in an OpenJDK for aarch64 under qemu-user. The kinds of trap:

1. The library is missing, or lies under a name that the loader never asks for.
2. One class or member is missing, though the library itself would load.
3. It loads, and computes wrong: only knowledge tells.
4. It registers methods that the classes do not have.
5. It needs a newer C library than there is.
6. It is for Android or musl; beside one for glibc it does no harm.
7. It is one half of a pair of jars.
8. Its classes are newer than the JRE.

| trap | for | candidate | judged | tried |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One candidate of candidates.toml."""

    source: str
    library: str
    action: Action
    coordinate: Coordinate
    probe: tuple[str, ...]
    trap: str
    libc: str
    """Empty for the usual system."""
    asks: str
    """The name that the loader is said to ask for, instead of what the catalog says."""


def read_rows() -> list[Row]:
    rows: list[dict[str, Any]] = tomllib.loads((HERE / "candidates.toml").read_text())["candidate"]
    return [
        Row(
            one["source"],
            one["library"],
            one["action"],
            Coordinate.parse(one["with"]),
            tuple(one["probe"]),
            str(one.get("trap", "")),
            one.get("on", ""),
            one.get("asks", ""),
        )
        for one in rows
    ]


class Bench:
    """Where candidates are judged and tried."""

    def __init__(self, cache: Path, systems: dict[str, tuple[str, str]], work: Path) -> None:
        self._pipeline = Options(
            verbose=False, quiet=True, offline=False, maven_url=None, cache=cache
        ).pipeline()
        self._systems = systems
        self._work = work
        self._places: dict[str, tuple[dict[str, Gap], dict[str, ClassPath]]] = {}
        self._keys = str(work / "keys.p12")
        kind = ("-alias", "k", "-keyalg", "RSA", "-storetype", "PKCS12", "-dname", "CN=localhost")
        words = ("keytool", "-genkeypair", *kind, "-storepass", "changeit", "-keystore", self._keys)
        subprocess.run(words, check=True, capture_output=True)

    def judge(self, row: Row) -> tuple[Objection, ...]:
        """What our judgement says."""
        gap, jars = self._place(row)
        libc = row.libc or next(iter(self._systems))
        version = row.source.rpartition(":")[2]
        ground = Ground(self._pipeline.target, named_runtime(libc), release(version).jre)
        return judge(self._candidate(row), gap, jars, self._catalog(row), ground)

    def try_it(self, row: Row) -> str:
        """What the JVM says: `works: ...` or `fails: ...`."""
        folder = Path(tempfile.mkdtemp(dir=self._work))
        paths = []
        for number, (location, content) in enumerate(self._changed(row).items()):
            path = folder / f"{number}-{location.rpartition('/')[2]}"
            path.write_bytes(content)
            paths.append(str(path))
        classes = self._work / "classes"
        if not classes.exists():
            words = ("javac", "--release", "8", "-nowarn", "-d", str(classes), "-cp", ":".join(paths))
            subprocess.run([*words, str(HERE / "Try.java")], check=True, capture_output=True)
        root, java = self._systems[row.libc or next(iter(self._systems))]
        options = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ":".join([str(classes), *paths]))
        command = ("nice", "qemu-aarch64-static", "-L", root, java, *options, "Try", *row.probe, self._keys)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
        answers = [line for line in done.stdout.splitlines() if line.startswith(("works: ", "fails: "))]
        return answers[-1] if answers else f"fails: the JVM ended with {done.returncode}"

    def _candidate(self, row: Row) -> Candidate:
        content = self._pipeline.repository.fetch(row.coordinate).path.read_bytes()
        return Candidate(row.action, row.coordinate, content)

    def _catalog(self, row: Row) -> Catalog:
        catalog = self._pipeline.catalog
        if not row.asks:
            return catalog
        loader = LoaderNames("aarch64", "glibc", ("*",), (row.asks,))
        return {**catalog, row.library: replace(catalog[row.library], loaders=(loader,))}

    def _place(self, row: Row) -> tuple[Gap, ClassPath]:
        """The first gap of the library, which is the one in `lib` where there is one, and its class path."""
        if row.source not in self._places:
            name = row.source
            if ":" in name:
                name = str(self._pipeline.repository.fetch(Coordinate.parse(name)).path)
            source = self._pipeline.open(name)
            inventory = self._pipeline.scan(source).inventory
            gaps = {one.library: one for one in reversed(inventory.gaps)}
            scopes = {gap.scope for gap in gaps.values()}
            self._places[row.source] = (gaps, class_paths(source, inventory.distribution.root, scopes))
        gaps, paths = self._places[row.source]
        return gaps[row.library], paths[gaps[row.library].scope]

    def _changed(self, row: Row) -> ClassPath:
        """The class path with the candidate in its place, what is changed first."""
        gap, jars = self._place(row)
        candidate = self._candidate(row)
        first = gap.locations[0]
        match row.action:
            case "add":
                changed = {row.coordinate.file: candidate.content}
            case "graft":
                (entry,) = self._catalog(row)[row.library].asks("aarch64", "glibc", gap.version)
                _name, library = next(libraries([("", candidate.content)], [entry], "aarch64"))
                changed = {first: put_entry(jars[first], entry, library)}
            case _:
                changed = dict.fromkeys(gap.locations, candidate.content)
        return {
            **changed,
            **{location: content for location, content in jars.items() if location not in changed},
        }


def told(row: Row, objections: tuple[Objection, ...]) -> str:
    """The objection that the row is an instance of, else the first."""
    if not objections:
        return "no objection"
    kind = {"5": "system", "6": "system", "8": "jre"}.get(row.trap, objections[0].kind)
    shown = next((one for one in objections if one.kind == kind), objections[0])
    more = f" (and {len(objections) - 1} more)" if len(objections) > 1 else ""
    return f"**no**, {shown.kind}: {shown}{more}"


def main() -> None:
    cache, *systems = sys.argv[1:]
    split = (one.partition("=") for one in systems)
    known = {name: (where.split(":")[0], where.split(":")[1]) for name, _equals, where in split}
    sys.stdout.write(PAGE)
    agreed, rows = 0, read_rows()
    with tempfile.TemporaryDirectory(dir=".") as work:
        bench = Bench(Path(cache).resolve(), known, Path(work).resolve())
        for row in rows:
            objections, answer = bench.judge(row), bench.try_it(row)
            agree = (not objections) == answer.startswith("works")
            agreed += agree
            where = f"{row.library} in {row.source.removeprefix('org.apache.pulsar:')}"
            what = f"{row.action} `{row.coordinate}`" + (f" on {row.libc}" if row.libc else "")
            cells = (
                row.trap,
                where,
                what,
                told(row, objections),
                answer + ("" if agree else " **DISAGREES**"),
            )
            sys.stdout.write("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{len(rows)} candidates, {agreed} answers agree.\n")


if __name__ == "__main__":
    main()
