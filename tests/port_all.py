"""Port every distribution there is, and write what became of each gap: run by hand, `make port-all`.

It brings 4 GB into the cache, and reads all of it four times. What it writes is docs/ports.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm import parts, report
from pulsar_arm.catalog import SEVERITIES
from pulsar_arm.distribution import Source, open_source
from pulsar_arm.options import Options, default_cache
from pulsar_arm.pipeline import Pipeline
from pulsar_arm.plan import Plan, Resolved, Verdict
from pulsar_arm.scan import Gap, Inventory

SERVERS = ("2.5.1", "2.6.0", "2.10.1", "3.3.5", "3.3.6", "4.0.4", "4.0.6", "4.0.8")
OFFLOADERS = ("2.5.1", "2.6.0", "3.3.5", "3.3.6", "4.0.6", "4.0.8")
CONNECTORS = ("2.6.0", "4.0.8")
HEAD = """# Every distribution, ported

Written by `make port-all`. It ports each server distribution, offloader tarball and connector below for
{target}, scans what came out, and stops at the first gap that has no reason, is `fatal`, or was resolved and
is still there. {count} were ported.

`resolved` and `tolerated` count gaps, one for each class path, and Presto's check. `after` is what a scan of
the ported distribution tells: all of it is tolerated.
"""


@dataclass(frozen=True)
class Row:
    """One distribution before and after."""

    name: str
    plan: Plan
    after: Inventory


def sources(pipeline: Pipeline, place: Path) -> Iterator[tuple[str, Source]]:
    """Everything, with the name that the table gives it."""
    repository, progress = pipeline.repository, pipeline.progress
    for version in SERVERS:
        yield f"server {version}", open_source(version, parts.fetch_server(version, repository))
    for version in OFFLOADERS:
        path = parts.fetch_offloaders(version, repository, progress)
        assert path is not None, version
        yield f"offloaders {version}", open_source(path.name, path)
    for version in CONNECTORS:
        names = parts.choose_connectors("all", version, repository)
        for name, path in parts.fetch_connectors(names, version, repository, progress).items():
            nar = place / name
            nar.symlink_to(path)
            yield name.removeprefix("pulsar-io-").removesuffix(".nar"), open_source(name, nar)


def ported(name: str, source: Source, pipeline: Pipeline, place: Path) -> Row:
    """Port one, scan what came out, and hold both against each other."""
    plan = pipeline.prove(source, pipeline.scan(source))
    out = place / ("out.tar" if source.form == "tar" else f"out-{source.path.name}")
    pipeline.port(source, plan, out, force=True)
    after = pipeline.scan(open_source(out.name, out)).inventory
    out.unlink()
    for beside in place.glob(f"{out.name}.*"):
        beside.unlink()
    assert not [one for one in plan.verdicts if not words(one)], f"{name}: a verdict without a reason"
    assert not plan.blocking, f"{name}: {plan.blocking[0]}"
    assert not after.summary()["fatal"], f"{name}: fatal after the port"
    mended = {
        (one.subject.library, one.subject.scope)
        for one in plan.verdicts
        if isinstance(one.subject, Gap) and isinstance(one.outcome, Resolved)
    }
    still = mended & {(gap.library, gap.scope) for gap in after.gaps}
    assert not still, f"{name}: still there: {still}"
    assert not after.checks, f"{name}: a check is still there"
    return Row(name, plan, after)


def words(verdict: Verdict) -> str:
    """What was done, or why nothing was."""
    outcome = verdict.outcome
    return (report.remedy(verdict) or "") if isinstance(outcome, Resolved) else outcome.reason


def table(rows: list[Row]) -> str:
    """The page: a line for each distribution, then a line for each verdict there is."""
    lines = [HEAD.format(target=rows[0].after.target.name, count=len(rows))]
    lines += ["| distribution | before | resolved | tolerated | after |", "|---|---|---|---|---|"]
    for row in rows:
        kinds = [type(one.outcome).__name__ for one in row.plan.verdicts]
        before, after = counts(row.plan.inventory), counts(row.after)
        told = f"{kinds.count('Resolved')} | {kinds.count('Tolerated')}"
        lines.append(f"| {row.name} | {before} | {told} | {after} |")
    lines += ["", "## Every verdict", ""]
    lines += [
        "| what | how bad | verdict | the remedy, or why it may stay | where |",
        "|---|---|---|---|---|",
    ]
    places = defaultdict[tuple[int, str, str, str], dict[str, None]](dict)
    for row in rows:
        for one in row.plan.verdicts:
            rank = SEVERITIES.index(one.subject.severity)
            kind = type(one.outcome).__name__.lower()
            places[rank, report.name(one.subject), kind, words(one)][row.name] = None
    for (rank, name, kind, why), where in sorted(places.items()):
        told = why.removeprefix("leave it: ").replace("|", "\\|")
        lines.append(f"| {name} | {SEVERITIES[rank]} | {kind} | {told} | {', '.join(where)} |")
    return "\n".join(lines) + "\n"


def counts(inventory: Inventory) -> str:
    """The severities of what a scan tells."""
    return ", ".join(f"{count} {severity}" for severity, count in inventory.summary().items() if count) or "-"


def main() -> None:
    """Do all, or stop at the first that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the page to write: docs/ports.md")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--scratch", type=Path, help="where ports lie while they are looked at (1 GB)")
    asked = parser.parse_args()
    options = Options(verbose=False, quiet=True, offline=False, maven_url=None, cache=asked.cache.absolute())
    pipeline = options.pipeline()
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        rows = []
        for name, source in sources(pipeline, Path(folder)):
            rows.append(ported(name, source, pipeline, Path(folder)))
            print(
                f"{len(rows)} {name}: {counts(rows[-1].plan.inventory)} -> {counts(rows[-1].after)}",
                file=sys.stderr,
            )
    asked.out.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
