"""pulsar-arm deploy: clusters from one description."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.catalog import folder
from pulsar_arm.deploy import lint_report
from pulsar_arm.deploy.description import read_cluster
from pulsar_arm.deploy.files import read_release_files, write_files
from pulsar_arm.deploy.reading import read_deployment
from pulsar_arm.deploy.render import TARGETS
from pulsar_arm.deploy.rules import lint as find
from pulsar_arm.host.files import whole_directory
from pulsar_arm.options import (
    SOURCE,
    Options,
    example,
    force_option,
    format_option,
    out_option,
    pass_options,
    write_out,
)

_SHAPES = tuple(sorted(path.stem.removeprefix("init-") for path in folder("deploy").glob("init-*.toml")))


@click.group()
def deploy() -> None:
    """Render clusters of Pulsar from one description, for machines and containers."""


@deploy.command(epilog=example("pulsar-arm deploy init bare-metal -o cluster.toml"))
@click.argument("shape", type=click.Choice(_SHAPES))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="cluster.toml",
    show_default=True,
    help="The file to write.",
)
@force_option
def init(shape: str, out: Path, force: bool) -> None:
    """Write a commented description to start from."""
    text = (folder("deploy") / f"init-{shape}.toml").read_text(encoding="utf-8")
    write_out(text, out, force=force)
    click.echo(out)


@deploy.command(epilog=example("pulsar-arm deploy render cluster.toml --to bare-metal -o cluster"))
@click.argument("description", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", type=click.Choice(list(TARGETS)), required=True, help="What it runs on.")
@click.option(
    "--from",
    "source",
    envvar="PULSAR_ARM_DEPLOY_RENDER_FROM",
    metavar="SOURCE",
    help=f"The release whose own configuration files are changed: {SOURCE}; else the description's release.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder."
)
@force_option
@pass_options
def render(options: Options, description: Path, to: str, source: str | None, out: Path, force: bool) -> None:
    """Write everything that a cluster needs on one kind of ground, from its description."""
    cluster = read_cluster(description)
    released = read_release_files(options.pipeline().open(source or cluster.release.version))
    files = TARGETS[to](cluster, released)
    with whole_directory(out, force=force) as place:
        write_files(files, place)
    for file in files:
        click.echo(out / file.path)


@deploy.command(epilog=example("pulsar-arm deploy lint values.yaml"))
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@format_option("DEPLOY_LINT", "table", "json", "sarif")
@out_option
@click.option("--fix", is_flag=True, help="Make the changes that are safe, in the files themselves.")
@force_option
def lint(path: Path, form: str, out: Path | None, fix: bool, force: bool) -> int:
    """Find what is known to fail in files of ours or others': Helm values, compose, stacks, manifests, conf.

    Exits with 1 when an error is found, and left.
    """
    deployment = read_deployment(path)
    findings = find(deployment)
    if fix and (mended := lint_report.mend(findings)):
        click.echo(f"Changed {', '.join(map(str, mended))}.", err=True)
        deployment = read_deployment(path)
        findings = find(deployment)
    if form == "table":
        parts = lint_report.table(findings, len(deployment.files))
        write_out(report.as_text(parts), out, force=force) if out else report.print_out(parts)
    else:
        write_out(_FORMS[form](findings), out, force=force)
    return int(any(one.rule.weight == "error" for one in findings))


_FORMS = {"json": lint_report.as_json, "sarif": lint_report.as_sarif}
