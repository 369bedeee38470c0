"""pulsar-arm fetch: Bring a release and its parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from pulsar_arm import parts
from pulsar_arm.distribution import open_source
from pulsar_arm.host.files import whole_file
from pulsar_arm.options import Options, catalog_option, example, force_option, pass_options


@click.command(epilog=example("pulsar-arm --cache /media/stick fetch 2.6.0 --offloaders --connectors kafka"))
@click.argument("version")
@click.option("--offloaders", is_flag=True, help="The tiered-storage offloaders too.")
@click.option("--connectors", metavar="all|NAME[,NAME...]", help="Connectors too.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Copy into this folder.")
@catalog_option("FETCH")
@force_option
@pass_options
def fetch(
    options: Options,
    version: str,
    offloaders: bool,
    connectors: str | None,
    out: Path | None,
    own: Path | None,
    force: bool,
) -> None:
    """Bring a release and its parts into the cache, or a folder, and print the paths.

    What a port of them brings in comes into the cache too, and is printed: that cache serves --offline.
    """
    pipeline = options.pipeline(own=own)
    repository, progress = pipeline.repository, pipeline.progress
    server = parts.fetch_server(version, repository)
    found = {server.name: server}
    if offloaders and (path := parts.fetch_offloaders(version, repository, progress)):
        found[path.name] = path
    if connectors:
        names = parts.choose_connectors(connectors, version, repository)
        found |= parts.fetch_connectors(names, version, repository, progress)
    remedies = list[Path]()
    for name, part in found.items():
        brought = pipeline.resolver.fetch(open_source(name, part))
        jars = ", ".join(path.name for path in brought) or "nothing"
        progress.note(f"A port of {name} brings in: {jars}.")
        remedies += brought
    for name, path in found.items():
        click.echo(_copy(path, out / name, force) if out else path)
    for path in dict.fromkeys(remedies):
        click.echo(path)
    if remedies:
        progress.note(f"For a port with --offline carry the whole cache, {options.cache}.")


def _copy(path: Path, place: Path, force: bool) -> Path:
    with whole_file(place, force=force) as fresh:
        shutil.copyfile(path, fresh)
    return place
