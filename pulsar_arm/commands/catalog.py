"""pulsar-arm catalog: Show, check and widen what is known of native libraries."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.catalog import layered
from pulsar_arm.catalog_report import catalog_table, override_table, recheck_table
from pulsar_arm.errors import UsageError
from pulsar_arm.options import Options, catalog_option, example, pass_options
from pulsar_arm.platforms import AARCH64
from pulsar_arm.recheck import recheck


@click.group(epilog=example("pulsar-arm catalog list"))
def catalog() -> None:
    """Show, check and widen what is known of native libraries."""


@catalog.command("list", epilog=example("pulsar-arm catalog list --catalog my-overrides"))
@catalog_option("CATALOG_LIST")
def list_(own: Path | None) -> None:
    """List the libraries that are known, and what is done about each."""
    report.print_out([catalog_table(layered(own), own)])


@catalog.command(epilog=example("pulsar-arm catalog show rocksdbjni"))
@click.argument("library")
@catalog_option("CATALOG_SHOW")
def show(library: str, own: Path | None) -> None:
    """Show all that is known of LIBRARY, a Maven artifact id such as rocksdbjni."""
    known = layered(own)
    if library not in known:
        raise UsageError(f"The catalog has no {library}: `pulsar-arm catalog list` names what it has.")
    report.print_out(override_table(known[library]))


@catalog.command(epilog=example("pulsar-arm catalog check"))
@catalog_option("CATALOG_CHECK")
@pass_options
def check(options: Options, own: Path | None) -> int:
    """Hold every override against the repository: the jar, its hash, its libraries, its licence."""
    known = layered(own)
    progress = options.progress()
    repository = options.repository(progress)
    rows = []
    for override in known.values():
        for remedy in override.remedies:
            if remedy.coordinate:
                progress.note(f"Checking {remedy.coordinate}")
                wrong = recheck(override, remedy, known, AARCH64, repository)
                rows.append((override, remedy, wrong))
    report.print_out([recheck_table(rows)])
    return int(any(wrong for _override, _remedy, wrong in rows))
