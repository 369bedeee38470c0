"""pulsar-arm fetch: Bring a release and its parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from pulsar_arm import parts
from pulsar_arm.host.files import whole_file
from pulsar_arm.options import Options, example, force_option, pass_options


@click.command(epilog=example("pulsar-arm fetch 2.6.0 --offloaders --connectors kafka,jdbc-postgres"))
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
    with whole_file(place, force=force) as fresh:
        shutil.copyfile(path, fresh)
    return place
