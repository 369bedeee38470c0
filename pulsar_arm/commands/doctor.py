"""pulsar-arm doctor: what this machine can do, and the command that mends what it cannot."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.console import RenderableType
from rich.text import Text

from pulsar_arm import report
from pulsar_arm.doctor import Ability, examine
from pulsar_arm.options import Options, example, format_option, pass_options
from pulsar_arm.platforms import AARCH64

_STYLES = {"fine": "green", "optional": "yellow", "missing": "bold red", "note": "yellow"}


@click.command(epilog=example("pulsar-arm doctor"))
@format_option("DOCTOR", "table", "json")
@pass_options
def doctor(options: Options, form: str) -> int:
    """Tell what this machine can do, and the command that mends what it cannot.

    Nothing is changed. Exits with 1 when scan, port, build or verify lacks something here.
    """
    with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as empty:
        repository = replace(options, cache=Path(empty)).repository(options.progress())
        abilities = examine(AARCH64, repository, options.cache, offline=options.offline, place=Path())
    if form == "json":
        rows = [asdict(one) for one in abilities]
        click.echo(report.dump({"schema_version": report.SCHEMA_VERSION, "abilities": rows}), nl=False)
    else:
        report.print_out(_table(abilities))
    return int(any(one.state == "missing" and not one.optional for one in abilities))


def _table(abilities: Sequence[Ability]) -> list[RenderableType]:
    missing = [one for one in abilities if one.state == "missing"]
    needed = [one.subject for one in missing if not one.optional]
    can = (
        f"scan, port, build or verify lack: {', '.join(needed)}."
        if needed
        else "scan, port, build and verify work here."
    )
    more = [one.subject for one in missing if one.optional]
    also = f" Not there, and not needed for them: {', '.join(more)}." if more else ""
    rows = report.columns(2)
    for one in abilities:
        what = report.words(one.subject, "bold").append(f" (for {one.serves})", style="not bold")
        state = "optional" if one.optional else one.state
        rows.add_row(Text(state, style=_STYLES[state]), what)
        rows.add_row("", report.words(one.seen))
        if one.mend:
            rows.add_row("", report.words(f"-> {one.mend}"))
    return [report.words(can + also), rows]
