"""pulsar-arm port: Write a distribution as it should be on the target."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.errors import UsageError
from pulsar_arm.fitness import named_runtime
from pulsar_arm.options import Options, catalog_option, example, force_option, libc_option, pass_options


@click.command(epilog=example("pulsar-arm port 2.6.0 -o apache-pulsar-2.6.0-aarch64.tar.gz"))
@click.argument("source")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="An archive by its suffix, else a folder; OUT.receipt.json and OUT.cdx.json lie beside it.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@libc_option
@click.option(
    "--graft", is_flag=True, help="Take unproven grafts too: the old jar, with a newer library in it."
)
@click.option("--resolve", is_flag=True, help="Look for what the catalog lacks, and say what was found.")
@click.option("--allow-unresolved", is_flag=True, help="Write even where a fatal or feature gap stays.")
@catalog_option("PORT")
@force_option
@pass_options
def port(
    options: Options,
    source: str,
    out: Path | None,
    dry_run: bool,
    libc: str | None,
    graft: bool,
    resolve: bool,
    allow_unresolved: bool,
    own: Path | None,
    force: bool,
) -> None:
    """Write SOURCE as it should be on aarch64: ARM builds swapped in, Presto's check patched.

    SOURCE is a release tarball, an unpacked folder, a jar or NAR, or a release number such as 2.6.0.
    Whatever is brought in is first linked against the class path it goes into.
    """
    if out is None and not dry_run:
        raise UsageError("port needs -o OUT (or --dry-run): name the archive or folder to write.")
    runtime = named_runtime(libc)
    pipeline = options.pipeline(own=own)
    opened = pipeline.open(source)
    plan = pipeline.scan(opened, runtime, graft=graft)
    plan = pipeline.prove(opened, plan, runtime, graft=graft, fetch=not dry_run)
    if resolve:
        plan = pipeline.resolver.resolve(opened, plan, runtime, graft=graft)
    report.print_out([report.plan_table(plan)])
    if out is not None and not dry_run:
        ported = pipeline.port(opened, plan, out, force=force, allow_unresolved=allow_unresolved)
        click.echo(
            f"Wrote {ported.path} ({len(ported.changes)} files changed), "
            f"{ported.path}.receipt.json and {ported.path}.cdx.json."
        )
