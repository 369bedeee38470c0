"""pulsar-arm build: Make images."""

from __future__ import annotations

from pathlib import Path

import click

from pulsar_arm import report
from pulsar_arm.base_definition import base_names
from pulsar_arm.build import Order
from pulsar_arm.engines import ENGINES
from pulsar_arm.engines.choice import AUTO
from pulsar_arm.errors import UsageError
from pulsar_arm.image import image_names
from pulsar_arm.options import SOURCE, Options, catalog_option, example, force_option, pass_options
from pulsar_arm.pipeline import DEFAULT_BASE

DEFAULT_TAG = "pulsar-arm"


@click.command(
    epilog=example("pulsar-arm build --images pulsar,pulsar-all --connectors kafka --output images")
)
@click.option("--images", default="pulsar", show_default=True, metavar="NAME[,NAME...]", help="Which images.")
@click.option(
    "--from",
    "source",
    envvar="PULSAR_ARM_BUILD_FROM",
    metavar="SOURCE",
    help=f"What to build from: {SOURCE}.",
)
@click.option("--engine", type=click.Choice([AUTO, *ENGINES]), default=AUTO, show_default=True)
@click.option(
    "--base",
    default=DEFAULT_BASE,
    show_default=True,
    metavar="BASE",
    help=f"{', '.join(base_names())}; NAME=IMAGE to start from another image; a base FILE.toml of yours; "
    "an OCI layout or archive, or NAME:TAG in engine or registry.",
)
@click.option(
    "--connectors", default="all", show_default=True, metavar="all|NAME[,NAME...]", help="For pulsar-all."
)
@click.option("--tag", default=DEFAULT_TAG, show_default=True, metavar="REPOSITORY-PREFIX[:TAG]")
@click.option("--push", is_flag=True, help="Push the images to the registry that --tag names.")
@click.option("--load", is_flag=True, help="Load the images into this machine's engine.")
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
@catalog_option("BUILD")
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
    push: bool,
    load: bool,
    output: Path,
    user: str,
    mirror: str | None,
    refresh: bool,
    fast: bool,
    own: Path | None,
    force: bool,
) -> None:
    """Build arm64 images of a ported release, without Docker, as archives that every engine loads."""
    names = tuple(name.strip() for name in images.split(",") if name.strip())
    known = image_names()
    if unknown := [name for name in names if name not in known] or (["(none)"] if not names else []):
        raise UsageError(f"--images {unknown[0]} is not known: choose among {', '.join(known)}.")
    if push and tag == DEFAULT_TAG:
        raise UsageError("--push needs --tag with the registry: --tag ghcr.io/acme for ghcr.io/acme/pulsar.")
    order = Order(
        images=names,
        source=source,
        base=base,
        connectors=connectors,
        tag=tag,
        output=output,
        user=user,
        engine=engine,
        fast=fast,
        force=force,
        refresh=refresh,
        mirror=mirror,
        push=push,
        load=load,
    )
    delivered, plans = options.pipeline(own=own).build(order)
    report.print_out([report.plan_table(plan) for plan in plans])
    for one in delivered:
        click.echo(f"{one.archive}  {one.reference}  {one.digest}")
