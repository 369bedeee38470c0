"""pulsar-arm build: Make images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.build import Order
from pulsar_arm.engines import ENGINES
from pulsar_arm.engines.choice import AUTO
from pulsar_arm.errors import UsageError
from pulsar_arm.options import Options, example, force_option, pass_options
from pulsar_arm.ordering import DEFAULT_TAG, order_options
from pulsar_arm.reports.layers import layer_table


@click.command(
    epilog=example("pulsar-arm build --images pulsar,pulsar-all --connectors kafka --output images")
)
@order_options("BUILD")
@click.option("--engine", type=click.Choice([AUTO, *ENGINES]), default=AUTO, show_default=True)
@click.option("--push", is_flag=True, help="Push the images to the registry that --tag names.")
@click.option("--load", is_flag=True, help="Load the images into this machine's engine.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The folder for the archives.",
)
@click.option("--fast", is_flag=True, help="Compress faster; digests may then differ between machines.")
@click.option(
    "--print",
    "printed",
    envvar="PULSAR_ARM_BUILD_PRINT",
    is_flag=True,
    help="Print the Dockerfiles and the plan, write nothing.",
)
@force_option
@pass_options
def build(
    options: Options,
    order: Order,
    push: bool,
    load: bool,
    own: Path | None,
    engine: str,
    output: Path,
    fast: bool,
    printed: bool,
    force: bool,
) -> None:
    """Build images of a ported release, without Docker if need be, as archives that every engine loads."""
    if push and order.tag == DEFAULT_TAG:
        raise UsageError("--push needs --tag with the registry: --tag ghcr.io/acme for ghcr.io/acme/pulsar.")
    order = replace(order, engine=engine, output=output, fast=fast, force=force, push=push, load=load)
    pipeline = options.pipeline(order.platforms[0], own)
    if printed:
        dockerfiles, plans = pipeline.dockerfiles(order)
        report.print_out([report.plan_table(plan) for plan in plans])
        for name, text in dockerfiles:
            click.echo(f"# {name}\n{text}")
        return
    delivered, plans = pipeline.build(order)
    report.print_out([report.plan_table(plan) for plan in plans])
    for one in delivered:
        report.print_out(layer_table(f"{one.reference} for {name}", rows) for name, rows in one.layers)
    for one in delivered:
        click.echo(f"{one.archive}  {one.reference}  {one.digest}")
