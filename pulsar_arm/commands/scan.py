"""pulsar-arm scan: Tell what would break."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.catalog import SEVERITIES
from pulsar_arm.errors import UsageError
from pulsar_arm.fitness import named_runtime, with_pages
from pulsar_arm.options import (
    Options,
    catalog_option,
    example,
    force_option,
    format_option,
    libc_option,
    out_option,
    page_size_option,
    pass_options,
    size_option,
    write_out,
)
from pulsar_arm.plan import Plan
from pulsar_arm.platforms import AARCH64, PLATFORMS, Platform, platform
from pulsar_arm.reports import FORMATS
from pulsar_arm.reports.baseline import read_baseline, without
from pulsar_arm.reports.findings import Report
from pulsar_arm.walk import LIMITS, Limits


@click.command(epilog=example("pulsar-arm scan 2.6.0 --format json -o report.json"))
@click.argument("source", nargs=-1, required=True)
@format_option("SCAN", *FORMATS)
@out_option
@click.option(
    "--target",
    type=click.Choice([one.name for one in PLATFORMS]),
    default=AARCH64.name,
    show_default=True,
    help="The machine to judge for.",
)
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES[:-1]),
    default="fatal",
    show_default=True,
    help="Exit with 1 when a gap or check is this bad, or worse.",
)
@libc_option
@click.option(
    "--base",
    metavar="IMAGE",
    help="Judge for what this OCI layout or archive, or base known by name, holds: C library and libraries.",
)
@page_size_option
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An earlier JSON report: tell and count only what is new since then.",
)
@size_option("--max-entry", LIMITS.entry, "The largest file that is read whole, with the archives around it.")
@click.option(
    "--max-depth",
    type=click.IntRange(1),
    default=LIMITS.depth,
    show_default=True,
    help="How many archives inside archives are followed.",
)
@size_option("--max-total", LIMITS.total, "The most that is unpacked of one SOURCE.")
@click.option(
    "--max-entries",
    type=click.IntRange(1),
    default=LIMITS.entries,
    show_default=True,
    help="The most files and archive entries of one SOURCE.",
)
@catalog_option("SCAN")
@force_option
@pass_options
def scan(
    options: Options,
    source: Sequence[str],
    form: str,
    out: Path | None,
    target: str,
    fail_on: str,
    libc: str | None,
    base: str | None,
    page_size: str | None,
    baseline: Path | None,
    max_entry: int,
    max_depth: int,
    max_total: int,
    max_entries: int,
    own: Path | None,
    force: bool,
) -> int:
    """Tell what of SOURCE would break on aarch64, how badly, and what mends it.

    SOURCE is a release tarball or zip, an unpacked folder, a jar or NAR, a container image (a layout, an
    archive, or a name such as apachepulsar/pulsar:2.6.0), or a release number such as 2.6.0.
    """
    if libc and base:
        raise UsageError("--libc and --base both say what the C library is: give one of them.")
    machine = platform(target)
    known = read_baseline(baseline, machine) if baseline else None
    if base:
        runtime = with_pages(options.pipeline(machine, own).runtime(base), page_size)
    else:
        runtime = named_runtime(libc, page_size)
    limits = Limits(max_entry, max_depth, max_total, max_entries)
    named = [(name, _place(name, options, machine)) for name in source]
    plans = options.scanner(machine, own, runtime, limits).plans(named)
    reports = [without(plan, known) if known else Report(plan) for plan in plans]
    if form == "table" and not out:
        from pulsar_arm.reports.table import scan_tables

        report.print_out(scan_tables(reports))
    else:
        write_out(FORMATS[form](reports), out, force=force)
    return max((_answer(one.plan, fail_on) for one in reports), default=0)


def _place(name: str, options: Options, machine: Platform) -> Path:
    """Where SOURCE lies; what does not lie here is fetched, and only that needs the rest of the program."""
    path = Path(name)
    return path if os.path.lexists(path) else options.pipeline(machine).path(name)


def _answer(plan: Plan, fail_on: str) -> int:
    inventory = plan.inventory
    if inventory.unreadable:
        return 3
    counted = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return int(any(count for severity, count in inventory.summary().items() if severity in counted))
