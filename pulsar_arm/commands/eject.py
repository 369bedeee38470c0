"""pulsar-arm eject: Hand the build over to docker buildx bake."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.build import Order
from pulsar_arm.options import Options, example, force_option, pass_options
from pulsar_arm.ordering import order_options


@click.command(epilog=example("pulsar-arm eject context --images pulsar,pulsar-all --connectors kafka"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@order_options("EJECT")
@force_option
@pass_options
def eject(options: Options, folder: Path, order: Order, own: Path | None, force: bool) -> None:
    """Write a build context into DIR that plain `docker buildx bake` builds without us."""
    plans = options.pipeline(order.platforms[0], own).eject(order, folder, force=force)
    report.print_out([report.plan_table(plan) for plan in plans])
    click.echo(folder)
