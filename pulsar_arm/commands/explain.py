"""pulsar-arm explain: a log in, the diagnosis and the remedy out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

import click
from rich.console import Group, RenderableType
from rich.text import Text

from pulsar_arm import report
from pulsar_arm.diagnosis import Diagnosis, diagnose, known_diagnoses, telling_lines
from pulsar_arm.errors import InputError
from pulsar_arm.options import example, format_option

_STYLES = {"failure": "bold red", "warning": "yellow", "noise": "dim"}


@click.command(epilog=example("pulsar-arm explain logs/pulsar-bookie.log"))
@click.argument("logfile", type=click.File(encoding="utf-8", errors="replace"))
@format_option("EXPLAIN", "table", "json")
def explain(logfile: TextIO, form: str) -> int:
    """Tell what LOGFILE (- for standard input) says of Pulsar on aarch64, and what mends it.

    Exits with 1 when it holds no failure that is known.
    """
    known = known_diagnoses()
    try:
        lines = logfile.readlines()
    except OSError as error:
        raise InputError(f"{logfile.name} cannot be read: {error.strerror}.") from error
    found = diagnose(lines, known)
    failed = any(one.known.kind == "failure" for one in found)
    if form == "json":
        click.echo(report.dump(_json(found, len(lines))), nl=False)
    else:
        telling = () if failed else telling_lines(lines, known)
        report.print_out(_table(found, len(lines), telling))
    return 0 if failed else 1


def _table(found: Iterable[Diagnosis], total: int, telling: Iterable[str]) -> list[RenderableType]:
    rows = report.columns(2)
    kinds = [one.known.kind for one in found]
    for one in found:
        known = one.known
        times = f", {one.count} times" if one.count > 1 else ""
        rows.add_row(Text(known.kind, style=_STYLES[known.kind]), report.words(known.what, "bold"))
        rows.add_row("", report.words(f"line {one.line}{times}: {one.text.strip()}"))
        rows.add_row("", report.words(f"-> {known.remedy}"))
    failures = kinds.count("failure")
    said = f"{failures} known {'failure' if failures == 1 else 'failures'} in {total} lines."
    parts: list[RenderableType] = [report.words(said if failures else f"No known failure in {total} lines.")]
    parts += [rows] if kinds else []
    if lines := list(telling):
        parts.append(Group(report.words("The lines that may matter:"), *map(report.words, lines)))
    return parts


def _json(found: Iterable[Diagnosis], total: int) -> dict[str, object]:
    return {
        "schema_version": report.SCHEMA_VERSION,
        "lines": total,
        "diagnoses": [
            {
                "id": one.known.name,
                "kind": one.known.kind,
                "line": one.line,
                "text": one.text,
                "count": one.count,
                "meaning": one.known.what,
                "remedy": one.known.remedy,
                "evidence": one.known.evidence,
            }
            for one in found
        ],
    }
