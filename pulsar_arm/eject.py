"""Hand a build over: a context that any BuildKit builds to the same tree and config, without this program.

One Dockerfile holds the stages of all images and platforms, since only so one tag can name several platforms,
and the base is a tar of the context like every other part: an engine needs neither registry nor emulation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pulsar_arm.base_store import Base
from pulsar_arm.build import Order, Prepared
from pulsar_arm.catalog import folder
from pulsar_arm.delivery import split_tag
from pulsar_arm.formats.dockerfile import Instruction, read_dockerfile
from pulsar_arm.formats.layer import write_layer
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import write_root
from pulsar_arm.host.files import told
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Recipe

# What of a base's config a stage can say again, and how (OCI image-spec, config.md).
_LISTS = {"Entrypoint": "ENTRYPOINT", "Cmd": "CMD"}
_WORDS = {"User": "USER", "WorkingDir": "WORKDIR", "StopSignal": "STOPSIGNAL"}


def write_context(
    place: Path,
    order: Order,
    version: str,
    prepared: Sequence[tuple[Base, Sequence[Prepared]]],
    progress: Progress,
) -> None:
    """Write Dockerfile, docker-bake.hcl, .dockerignore, README.md and the tars into `place`, an empty folder.

    `prepared` has the base and the images of each platform, in the order of the order's.
    """
    stages: list[str] = []
    for base, images in prepared:
        recipes = [one.recipe for one in images]
        part = place / recipes[0].platform.oci
        with progress.task(f"Writing {part.name}: the base and the parts of {len(images)} images", None):
            _write_parts(part, base, images)
        stages += _stages(base.image, recipes)
    names = [one.recipe.name for one in prepared[0][1]]
    stages += [f"FROM {name}-${{TARGETARCH}} AS {name}\n" for name in names]
    prefix, tag = split_tag(order.tag)
    told_of = {
        "images": order.images,
        "platforms": [platform.oci_platform for platform in order.platforms],
        "folders": [platform.oci for platform in order.platforms],
        "prefix": prefix,
        "tag": tag or version,
        "version": version,
    }
    templates = Environment(  # noqa: S701 - neither is HTML
        loader=FileSystemLoader(folder("dockerfiles") / "eject"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    with told(place):
        (place / "Dockerfile").write_text("\n".join(stages), encoding="utf-8")
        (place / ".dockerignore").write_text("*\n!**/*.tar\n", encoding="utf-8")
        for name in ("docker-bake.hcl", "README.md"):
            text = templates.get_template(f"{name}.j2").render(told_of)
            (place / name).write_text(text, encoding="utf-8")


def _write_parts(part: Path, base: Base, images: Sequence[Prepared]) -> None:
    with told(part):
        part.mkdir()
        with (part / "base.tar").open("wb") as tar:
            write_root(base.image, tar)
        (part / "base.packages.json").write_text(base.package_list, encoding="utf-8")
        for one in images:
            place = part / one.recipe.name
            place.mkdir()
            (place / "receipt.json").write_text(one.receipt, encoding="utf-8")
            for name, entries in one.recipe.context.items():
                with (place / name).open("wb") as tar:
                    write_layer(entries, tar)


def _stages(base: Image, recipes: Sequence[Recipe]) -> Iterator[str]:
    """The stages of one platform: names and paths get its name, all else is as the templates have it."""
    machine = recipes[0].platform.oci
    root = next(iter(recipes[0].images))
    lines = [f"FROM scratch AS base-{machine}", f"ADD {machine}/base.tar /", *_said(base)]
    yield "\n".join(lines) + "\n"
    known = {"scratch": "scratch", root: f"base-{machine}"}
    for recipe in recipes:
        *parts, last = read_dockerfile(recipe.dockerfile, f"{recipe.name}.Dockerfile").stages
        names = {stage.name: f"{recipe.name}-{stage.name}-{machine}" for stage in parts}
        names |= {last.name: f"{recipe.name}-{machine}"}
        for stage in (*parts, last):
            source = {**known, **names}[stage.base]
            texts = (_moved(one, f"{machine}/{recipe.name}", names) for one in stage.instructions)
            yield "\n".join([f"FROM {source} AS {names[stage.name]}", *texts]) + "\n"
        known[recipe.name] = names[last.name]


def _moved(instruction: Instruction, place: str, names: Mapping[str, str]) -> str:
    if instruction.keyword == "ADD":
        *sources, target = instruction.words
        return " ".join(["ADD", *(f"{place}/{source}" for source in sources), target])
    if instruction.keyword == "COPY":
        return instruction.text.replace(
            f"--from={instruction.flag('from')} ", f"--from={names[instruction.flag('from')]} ", 1
        )
    return instruction.text


def _said(base: Image) -> Iterator[str]:
    """The config of the base as instructions."""
    config: dict[str, Any] = base.settings.get("config") or {}
    for line in config.get("Env") or ():
        name, _, value = line.partition("=")
        yield f"ENV {name}={_quoted(value)}"
    for name, value in (config.get("Labels") or {}).items():
        yield f"LABEL {_quoted(name)}={_quoted(value)}"
    for port in config.get("ExposedPorts") or {}:
        yield f"EXPOSE {port}"
    if volumes := config.get("Volumes"):
        yield f"VOLUME {json.dumps(list(volumes))}"
    for key, keyword in _WORDS.items():
        if config.get(key):
            yield f"{keyword} {config[key]}"
    for key, keyword in _LISTS.items():
        if config.get(key):
            yield f"{keyword} {json.dumps(config[key])}"


def _quoted(value: str) -> str:
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'
