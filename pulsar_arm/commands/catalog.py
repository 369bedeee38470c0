"""pulsar-arm catalog: Show, check and widen what is known of native libraries."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.catalog import layered
from pulsar_arm.catalog_report import catalog_table, override_table, recheck_table, search_table
from pulsar_arm.errors import UsageError
from pulsar_arm.options import SOURCE, Options, catalog_option, example, pass_options
from pulsar_arm.overridefile import write_remedies
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


@catalog.command(epilog=example("pulsar-arm catalog add org.rocksdb:rocksdbjni --for 2.6.0"))
@click.argument("coordinate", metavar="GROUP:ARTIFACT[:VERSION]")
@click.option(
    "--for",
    "source",
    envvar="PULSAR_ARM_CATALOG_ADD_FOR",
    required=True,
    metavar="SOURCE",
    help=f"What it shall mend: {SOURCE}.",
)
@click.option("--library", metavar="NAME", help="The library it mends, where its artifact id is another.")
@click.option(
    "--catalog",
    "own",
    metavar="DIR",
    envvar="PULSAR_ARM_CATALOG_ADD_CATALOG",
    type=click.Path(path_type=Path, file_okay=False),
    default="jar_overrides",
    show_default=True,
    help="The folder of your own overrides, where the file is written.",
)
@click.option("--force", is_flag=True, help="Put the remedy into a file that exists; the rest of it stays.")
@pass_options
def add(options: Options, coordinate: str, source: str, library: str | None, own: Path, force: bool) -> int:
    """Find a replacement that has aarch64, links and fits, and write its override.

    Without a VERSION the artifact's versions are tried outwards from the one in SOURCE; with one, that one
    is judged. Exits with 1, naming what stands against it, when none will do.
    """
    parts = coordinate.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f"{coordinate!r} is not GROUP:ARTIFACT or GROUP:ARTIFACT:VERSION.")
    group, artifact, version = (*parts, "")[:3]
    pipeline = options.pipeline(own=own if own.exists() else None)
    outcomes, gaps = pipeline.resolver.search(
        pipeline.open(source), group, artifact, version, library or artifact
    )
    report.print_out(search_table(outcomes, AARCH64.name))
    remedies = [outcome.remedy for outcome in outcomes if outcome.remedy]
    if remedies:
        known = pipeline.catalog.get(gaps[0].library)
        click.echo(write_remedies(own, gaps[0], remedies, known.path if known else None, force=force))
    return int(len(remedies) < len(outcomes))
