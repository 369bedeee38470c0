"""What the commands share: the global options, the options several have, the words of their help."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pulsar_arm.catalog import folder, layered
from pulsar_arm.errors import UsageError
from pulsar_arm.fitness import PAGE_SIZES, Runtime
from pulsar_arm.formats.reference import read_reference
from pulsar_arm.host.files import whole_file
from pulsar_arm.host.progress import Progress, Silent, Terminal
from pulsar_arm.platforms import AARCH64, Platform

if TYPE_CHECKING:  # a scan of a file needs neither the network nor what builds images
    from pulsar_arm.host.maven import Repository
    from pulsar_arm.pipeline import Pipeline
    from pulsar_arm.scanner import Scanner
    from pulsar_arm.walk import Limits

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
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """By registry, the one that is asked before it."""
    insecure: frozenset[str] = frozenset()
    """Registries that may speak plain http or show any certificate."""

    def progress(self) -> Progress:
        """What tells the narrative."""
        return Silent() if self.quiet else Terminal()

    def repository(self, progress: Progress) -> Repository:
        """The Maven repository that was asked for."""
        from pulsar_arm.host.maven import Repository

        return Repository(self.cache, url=self.maven_url, offline=self.offline, progress=progress)

    def scanner(self, target: Platform, own: Path | None, runtime: Runtime, limits: Limits) -> Scanner:
        """What judges sources that lie here; the rest of the program stays out of it."""
        from pulsar_arm.patches import load_patches
        from pulsar_arm.scanner import Scanner

        patches = load_patches(folder("patches"))
        return Scanner(layered(own), patches, target, runtime, limits, self.progress())

    def pipeline(self, target: Platform = AARCH64, own: Path | None = None) -> Pipeline:
        """The program, with its data loaded and validated; `own` is the folder of --catalog."""
        from pulsar_arm.host.registry import Access
        from pulsar_arm.patches import load_patches
        from pulsar_arm.pipeline import Pipeline

        progress = self.progress()
        return Pipeline(
            self.repository(progress),
            layered(own),
            load_patches(folder("patches")),
            target,
            self.cache,
            progress,
            offline=self.offline,
            access=Access(self.mirrors, self.insecure),
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


def size_option(flag: str, default: int, text: str) -> Callable[[_Command], _Command]:
    """An option that takes a number of bytes, such as 512M."""
    shown = f"{default >> 30}G" if default >= 1 << 30 else f"{default >> 20}M"
    return click.option(flag, callback=_bytes, metavar="SIZE", default=shown, show_default=True, help=text)


def _bytes(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """A number with one of the units of 1024; a usage error for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([KMGT]?)", value.upper())
    if not match:
        raise click.BadParameter(f"{value} is no size such as 512M or 4G.")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2]]


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
