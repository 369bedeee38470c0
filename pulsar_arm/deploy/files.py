"""The files that rendering starts from, a release's own, and those it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pulsar_arm.catalog import folder
from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError

_WANTED = (
    "conf/zookeeper.conf",
    "conf/bookkeeper.conf",
    "conf/broker.conf",
    "conf/proxy.conf",
    "conf/bkenv.sh",
    "conf/pulsar_env.sh",
)
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class File:
    """One file to be written."""

    path: str
    """Below the folder of the rendering."""
    text: str
    executable: bool = False


def read_release_files(source: Source) -> Mapping[str, str]:
    """The configuration files of a release by their names in `conf`; InputError when one is not there."""
    found: dict[str, str] = {}
    for member, content in source.members():
        path = member.path.partition("/")[2] if source.form == "tar" else member.path
        if content is not None and path in _WANTED and member.size <= _LARGEST:
            found[path.removeprefix("conf/")] = content.read().decode("utf-8", errors="replace")
        if len(found) == len(_WANTED):
            return found
    missing = next(name for name in _WANTED if name.removeprefix("conf/") not in found)
    raise InputError(f"{source.name} has no {missing}: give a Pulsar server distribution by --from.")


def write_files(files: Sequence[File], out: Path) -> None:
    """Write a rendering into the folder `out`, which is new."""
    for file in files:
        path = out / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
        path.chmod(0o755 if file.executable else 0o644)


def template(name: str, **values: object) -> str:
    """A text of `data/deploy`, filled in."""
    environment = Environment(
        loader=FileSystemLoader(folder("deploy")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - shell and Markdown are no HTML
    )
    return environment.get_template(name).render(**values)
