"""The command line: arguments in, one call of the pipeline, the result printed, an exit code out."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from pulsar_arm import __version__, parts, report
from pulsar_arm.build import Order
from pulsar_arm.catalog import SEVERITIES
from pulsar_arm.engines import ENGINES
from pulsar_arm.errors import PulsarArmError, UsageError
from pulsar_arm.host.files import whole_file
from pulsar_arm.image import image_names
from pulsar_arm.options import (
    EXIT_CODES,
    SOURCE,
    Options,
    default_cache,
    example,
    force_option,
    format_option,
    out_option,
    pass_options,
)
from pulsar_arm.pipeline import DEFAULT_BASE
from pulsar_arm.plan import Plan
from pulsar_arm.platforms import AARCH64, PLATFORMS, platform
from pulsar_arm.printable import printable
from pulsar_arm.reports import FORMATS
from pulsar_arm.reports.baseline import read_baseline, without
from pulsar_arm.reports.findings import Report
from pulsar_arm.reports.table import scan_tables
from pulsar_arm.verify import LEVELS, Level


@click.group(epilog=EXIT_CODES, context_settings={"auto_envvar_prefix": "PULSAR_ARM"})
@click.version_option(__version__, prog_name="pulsar-arm")
@click.option("-v", "--verbose", is_flag=True, help="Show the commands that are run, and tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
@click.option("--offline", is_flag=True, help="Use the cache only.")
@click.option("--maven-url", metavar="URL", help="The Maven repository to fetch from.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_cache,
    show_default="$XDG_CACHE_HOME/pulsar-arm",
    help="Where fetched files and bases are kept.",
)
@click.pass_context
def cli(
    context: click.Context, verbose: bool, quiet: bool, offline: bool, maven_url: str | None, cache: Path
) -> None:
    """Take Apache Pulsar to ARM64: scan a release, port it, build images, prove that they run.

    Every option can be given by the environment too: PULSAR_ARM_<COMMAND>_<OPTION>.
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, format="%(message)s")
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    context.obj = Options(verbose, quiet, offline, maven_url, cache.expanduser().absolute())


@cli.command(epilog=example("pulsar-arm fetch 2.6.0 --offloaders --connectors kafka,jdbc-postgres"))
@click.argument("version")
@click.option("--offloaders", is_flag=True, help="The tiered-storage offloaders too.")
@click.option("--connectors", metavar="all|NAME[,NAME...]", help="Connectors too.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Copy into this folder.")
@force_option
@pass_options
def fetch(
    options: Options, version: str, offloaders: bool, connectors: str | None, out: Path | None, force: bool
) -> None:
    """Bring a release and its parts into the cache, or a folder, and print the paths."""
    progress = options.progress()
    repository = options.repository(progress)
    server = parts.fetch_server(version, repository)
    found = {server.name: server}
    if offloaders and (path := parts.fetch_offloaders(version, repository, progress)):
        found[path.name] = path
    if connectors:
        names = parts.choose_connectors(connectors, version, repository)
        found |= parts.fetch_connectors(names, version, repository, progress)
    for name, path in found.items():
        click.echo(_copy(path, out / name, force) if out else path)


def _copy(path: Path, place: Path, force: bool) -> Path:
    import shutil

    with whole_file(place, force=force) as fresh:
        shutil.copyfile(path, fresh)
    return place


@cli.command(epilog=example("pulsar-arm scan 2.6.0 --format json -o report.json"))
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
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An earlier JSON report: tell and count only what is new since then.",
)
@force_option
@pass_options
def scan(
    options: Options,
    source: Sequence[str],
    form: str,
    out: Path | None,
    target: str,
    fail_on: str,
    baseline: Path | None,
    force: bool,
) -> int:
    """Tell what of SOURCE would break on aarch64, how badly, and what mends it.

    SOURCE is a release tarball, an unpacked folder, a jar or NAR, or a release number such as 2.6.0.
    """
    machine = platform(target)
    known = read_baseline(baseline, machine) if baseline else None
    pipeline = options.pipeline(machine)
    plans = [pipeline.scan(pipeline.open(name)) for name in source]
    reports = [without(plan, known) if known else Report(plan) for plan in plans]
    if out:
        with whole_file(out, force=force) as place:
            place.write_text(FORMATS[form](reports), encoding="utf-8")
    elif form == "table":
        report.print_out(scan_tables(reports))
    else:
        click.echo(FORMATS[form](reports), nl=False)
    return max((_answer(one.plan, fail_on) for one in reports), default=0)


def _answer(plan: Plan, fail_on: str) -> int:
    inventory = plan.inventory
    if inventory.unreadable:
        return 3
    counted = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return int(any(count for severity, count in inventory.summary().items() if severity in counted))


@cli.command(epilog=example("pulsar-arm port 2.6.0 -o apache-pulsar-2.6.0-aarch64.tar.gz"))
@click.argument("source")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="An archive by its suffix (.tar.gz, .tgz, .tar), else a folder; the receipt is OUT.receipt.json.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@force_option
@pass_options
def port(options: Options, source: str, out: Path | None, dry_run: bool, force: bool) -> None:
    """Write SOURCE as it should be on aarch64: ARM builds swapped in, Presto's check patched.

    SOURCE is a release tarball, an unpacked folder, a jar or NAR, or a release number such as 2.6.0.
    """
    if out is None and not dry_run:
        raise UsageError("port needs -o OUT (or --dry-run): name the archive or folder to write.")
    pipeline = options.pipeline()
    opened = pipeline.open(source)
    plan = pipeline.scan(opened)
    report.print_out([report.plan_table(plan)])
    if out is not None and not dry_run:
        ported = pipeline.port(opened, plan, out, force=force)
        click.echo(
            f"Wrote {ported.path} ({len(ported.changes)} files changed) and {ported.path}.receipt.json."
        )


@cli.command(epilog=example("pulsar-arm build --images pulsar,pulsar-all --connectors kafka --output images"))
@click.option("--images", default="pulsar", show_default=True, metavar="NAME[,NAME...]", help="Which images.")
@click.option(
    "--from",
    "source",
    envvar="PULSAR_ARM_BUILD_FROM",
    metavar="SOURCE",
    help=f"What to build from: {SOURCE}.",
)
@click.option("--engine", type=click.Choice(["auto", *ENGINES]), default="auto", show_default=True)
@click.option(
    "--base",
    default=DEFAULT_BASE,
    show_default=True,
    help="A base known by name, or an OCI layout or archive.",
)
@click.option(
    "--connectors", default="all", show_default=True, metavar="all|NAME[,NAME...]", help="For pulsar-all."
)
@click.option("--tag", default="pulsar-arm", show_default=True, metavar="REPOSITORY-PREFIX[:TAG]")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The folder for the archives.",
)
@click.option(
    "--user", default="10000", show_default=True, metavar="UID[:GID]", help="Who the server runs as."
)
@click.option("--mirror", metavar="URL", help="The Debian mirror for the base.")
@click.option("--refresh", is_flag=True, help="Look for newer packages of the base.")
@click.option("--fast", is_flag=True, help="Compress faster; digests may then differ between machines.")
@force_option
@pass_options
def build(
    options: Options,
    images: str,
    source: str | None,
    engine: str,
    base: str,
    connectors: str,
    tag: str,
    output: Path,
    user: str,
    mirror: str | None,
    refresh: bool,
    fast: bool,
    force: bool,
) -> None:
    """Build arm64 images of a ported release, without Docker, as archives that every engine loads."""
    names = tuple(name.strip() for name in images.split(",") if name.strip())
    known = image_names()
    if unknown := [name for name in names if name not in known] or (["(none)"] if not names else []):
        raise UsageError(f"--images {unknown[0]} is not known: choose among {', '.join(known)}.")
    order = Order(
        images=names,
        source=source,
        base=base,
        connectors=connectors,
        tag=tag,
        output=output,
        user=user,
        engine=next(iter(ENGINES)) if engine == "auto" else engine,
        fast=fast,
        force=force,
        refresh=refresh,
        mirror=mirror,
    )
    delivered, plans = options.pipeline().build(order)
    report.print_out([report.plan_table(plan) for plan in plans])
    for one in delivered:
        click.echo(f"{one.archive}  {one.reference}  {one.digest}")


@cli.command(epilog=example("pulsar-arm verify images/pulsar-2.6.0-linux-arm64.tar"))
@click.argument("source")
@click.option("--level", type=click.Choice(LEVELS), default=LEVELS[-1], show_default=True)
@format_option("VERIFY", "table", "json")
@pass_options
def verify(options: Options, source: str, level: Level, form: str) -> int:
    """Prove that an image, or a ported distribution, will work on aarch64.

    static: the config, a new scan, the machine of every program. load: each native that a loader would
    choose is given to the image's own dynamic loader, emulated where this machine is another.
    """
    verification = options.pipeline().verify(source, level)
    if form == "json":
        click.echo(report.dump(report.verification_json(verification)), nl=False)
    else:
        report.print_out([report.verification_table(verification)])
    return 0 if verification.passed else 1


def main() -> NoReturn:
    """Run the command line; failures become one sentence on stderr and the documented exit code."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # The threads that inflate and hash wait for Python's lock at each of their pieces: by default 5 ms,
    # while jars are being parsed, which made a scan a quarter slower.
    sys.setswitchinterval(0.0005)
    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        code = cli.main(standalone_mode=False)
    except PulsarArmError as error:
        if verbose:
            raise
        code = _fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        code = _fail("Interrupted; nothing half-written is left.", 130)
    except BrokenPipeError:
        # Whoever read our output has gone: no error of ours, and stdout must not be flushed again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int) -> int:
    click.echo(f"pulsar-arm: {printable(sentence)}", err=True)
    return code
