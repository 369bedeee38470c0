"""pulsar-arm verify: Prove that an image works."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.checks import LEVELS, Level
from pulsar_arm.options import (
    Options,
    example,
    force_option,
    format_option,
    out_option,
    pass_options,
    write_out,
)
from pulsar_arm.plan import plan
from pulsar_arm.reports import junit
from pulsar_arm.reports.evidence import beside, read_receipt, render
from pulsar_arm.reports.html import Evidence
from pulsar_arm.verify import TIMEOUT
from pulsar_arm.where import WHERES, Where


@click.command(epilog=example("pulsar-arm verify images/pulsar-2.6.0-linux-arm64.tar"))
@click.argument("source")
@click.option("--level", type=click.Choice(LEVELS), default="load", show_default=True)
@click.option(
    "--where",
    type=click.Choice(WHERES),
    default="auto",
    show_default=True,
    help="Run its programs in a private root (needs root), or in a container of the local engine.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long each JVM is waited for.",
)
@format_option("VERIFY", "table", "json", "junit", "html")
@out_option
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What was changed, for the HTML page; else the one beside SOURCE.",
)
@force_option
@pass_options
def verify(
    options: Options,
    source: str,
    level: Level,
    where: Where,
    timeout: float,
    form: str,
    out: Path | None,
    receipt: Path | None,
    force: bool,
) -> int:
    """Prove that an image, or a ported distribution, will work on aarch64.

    static: the config, a new scan, the machine of every program. load: each native that a loader would
    choose is given to the image's own dynamic loader, emulated where this machine is another. probe: the
    libraries are used in the image's JVM, through the distribution's own jars. boot: the server
    starts, a message goes through it, its bookie passes the sanity test, and SQL answers where there is SQL.
    """
    place = receipt or beside(source)
    parts = read_receipt(place) if place and form == "html" else ()
    pipeline = options.pipeline()
    verification = pipeline.verify(source, level, where=where, timeout=timeout)
    if form == "table":
        tables = [report.verification_table(verification)]
        write_out(report.as_text(tables), out, force=force) if out else report.print_out(tables)
    elif form == "json":
        write_out(report.dump(report.verification_json(verification)), out, force=force)
    elif form == "junit":
        write_out(junit.render(verification), out, force=force)
    else:
        after = plan(verification.inventory, pipeline.catalog, pipeline.patches)
        write_out(render(Evidence(verification, parts), after), out, force=force)
    return 0 if verification.passed else 1
