"""What the commands share: the global options, the options several have, the words of their help."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from pulsar_arm.catalog import folder, layered
from pulsar_arm.errors import UsageError
from pulsar_arm.fitness import PAGE_SIZES
from pulsar_arm.formats.reference import read_reference
from pulsar_arm.host.files import whole_file
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Progress, Silent, Terminal
from pulsar_arm.host.registry import Access
from pulsar_arm.patches import load_patches
from pulsar_arm.pipeline import Pipeline
from pulsar_arm.platforms import AARCH64, Platform

EXIT_CODES = """\b
Exit codes:
  0    fine
  1    the answer is "no": a gap at or above --fail-on, a verification that failed
  2    usage
  3    the input, or part of it, cannot be read (the report is still written)
  4    catalog or patch data is wrong
  5    a fatal or feature gap that nothing in the catalog resolves or tolerates
  6    a build failed
  7    the host or network lacks something: tool, release, emulation, space, permission
  130  interrupted
"""
SOURCE = "a release tarball or zip, an unpacked folder, a jar or NAR, an image, or a release number"


_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Options:
    """The global options."""

    verbose: bool
    quiet: bool
    offline: bool
    maven_url: str | None
    cache: Path
    access: Access = field(default_factory=Access)

    def progress(self) -> Progress:
        """What tells the narrative."""
        return Silent() if self.quiet else Terminal()

    def repository(self, progress: Progress) -> Repository:
        """The Maven repository that was asked for."""
        return Repository(self.cache, url=self.maven_url, offline=self.offline, progress=progress)

    def pipeline(self, target: Platform = AARCH64, own: Path | None = None) -> Pipeline:
        """The program, with its data loaded and validated; `own` is the folder of --catalog."""
        progress = self.progress()
        return Pipeline(
            self.repository(progress),
            layered(own),
            load_patches(folder("patches")),
            target,
            self.cache,
            progress,
            offline=self.offline,
            access=self.access,
        )


def default_cache() -> Path:
    """Where things are kept when the user names no place (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pulsar-arm"


def read_mirrors(
    _context: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str]:
    """The mirrors by the registry they stand for; a wrong one is a usage error."""
    mirrors = {}
    for pair in pairs:
        registry, _equals, mirror = pair.partition("=")
        try:
            read_reference(f"{registry}/x")
            read_reference(f"{mirror}/x")
        except UsageError:
            mirror = ""
        if not (registry and mirror):
            raise click.BadParameter(f"{pair} is no HOST=HOST[/PREFIX], such as ghcr.io=ghcr.example.")
        mirrors[registry] = mirror.rstrip("/")
    return mirrors


def example(text: str) -> str:
    """What stands at the end of a command's help."""
    return f"\b\nExample:\n  {text}"


pass_options = click.make_pass_decorator(Options)
out_option = click.option(
    "-o", "--out", "out", type=click.Path(path_type=Path), help="Write there instead of stdout."
)
libc_option = click.option(
    "--libc", metavar="glibc-VERSION|musl", help="Judge for this C library: glibc-2.28, musl; else any glibc."
)
page_size_option = click.option(
    "--page-size", type=click.Choice(tuple(PAGE_SIZES)), help="Judge for a kernel with pages of this size."
)
force_option = click.option("--force", is_flag=True, help="Replace outputs that exist.")


def format_option(command: str, *names: str) -> Callable[[_Command], _Command]:
    """The option --format, whose name is a builtin's and so not its parameter's."""
    choice = click.Choice(names)
    envvar = f"PULSAR_ARM_{command}_FORMAT"
    return click.option("--format", "form", type=choice, envvar=envvar, default=names[0], show_default=True)


def write_out(text: str, out: Path | None, *, force: bool) -> None:
    """Write a report whole to `out`, or to stdout without one."""
    if out is None:
        click.echo(text, nl=False)
        return
    with whole_file(out, force=force) as place:
        place.write_text(text, encoding="utf-8")


def catalog_option(command: str) -> Callable[[_Command], _Command]:
    """The option --catalog; a name of ours would hide the module of that name."""
    return click.option(
        "--catalog",
        "own",
        metavar="DIR",
        envvar=f"PULSAR_ARM_{command}_CATALOG",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Your own overrides; a file there takes the place of the shipped one of its name.",
    )
