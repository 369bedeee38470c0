"""Build an image here, without a container engine: one layer for each COPY or ADD of the last stage.

It understands a Dockerfile that runs no program. Trees come out as BuildKit makes them, times
excepted: all are the epoch. A WORKDIR that is not there becomes a layer with that folder, USER's.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulsar_arm.engines.copying import Tree, absolute, copy, overlaid, unpacked
from pulsar_arm.engines.paths import known_paths, remember_paths
from pulsar_arm.engines.settings import Settings, configure, empty_settings, inherited_settings, record
from pulsar_arm.errors import BuildError
from pulsar_arm.formats.blob import LayerBlob
from pulsar_arm.formats.dockerfile import Dockerfile, Instruction, Stage, read_dockerfile
from pulsar_arm.formats.layer import LayerEntry, content_size, write_layer_blob
from pulsar_arm.formats.oci import Image, render
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Recipe
from pulsar_arm.platforms import Platform


@dataclass(slots=True)
class _Built:
    """A stage while it is carried out."""

    settings: Settings
    parent: tuple[LayerBlob, ...] = ()
    tree: Tree = field(default_factory=dict)
    """Everything in it so far; files of a parent image are without content."""
    added: list[tuple[Instruction, Tree]] = field(default_factory=list)
    """The layers to be written."""


class Embedded:
    """The engine that needs nothing but this program."""

    name = "embedded"

    def lacks(self, dockerfile: str, target: Platform) -> str:
        """Nothing, unless a program has to be run."""
        for stage in read_dockerfile(dockerfile, "Dockerfile").stages if dockerfile else ():
            for instruction in stage.instructions:
                if instruction.keyword == "RUN":
                    return (
                        f"line {instruction.line}, RUN, needs the image's own programs; use the buildx engine"
                    )
        return ""

    def build(
        self, recipe: Recipe, blobs: Path, *, fast: bool, progress: Progress, cache: Path | None = None
    ) -> Image:
        """Build `recipe`; nothing is written before the whole Dockerfile is understood.

        BuildError tells file and line of what this engine cannot do. Digests depend on the recipe
        alone, not on folders, threads or the processor (with `fast`, only diff IDs do).
        """
        last = _Stages(recipe, cache or blobs).build()
        layers = list(last.parent)
        for number, (instruction, tree) in enumerate(last.added, 1):
            total = sum(content_size(entry) for entry in tree.values() if entry.kind == "file")
            label = f"Layer {number} of {len(last.added)} of {recipe.name}: {instruction.text}"
            with progress.task(label, total) as advance:
                layers.append(write_layer_blob(tree.values(), blobs, fast=fast, advance=advance))
        last.settings["rootfs"]["diff_ids"] = [layer.diff_id for layer in layers]
        last.settings["created"] = recipe.created
        image = Image(render(last.settings), tuple(layers))
        remember_paths(image, last.tree, cache or blobs)
        return image


class _Stages:
    """The stages of a recipe's Dockerfile, carried out in their order."""

    def __init__(self, recipe: Recipe, cache: Path) -> None:
        self._recipe, self._cache = recipe, cache
        environments = {name: _environment(image) for name, image in recipe.images.items()}
        platform = recipe.platform
        arguments = {"TARGETPLATFORM": platform.oci_platform, "TARGETOS": "linux", "TARGETARCH": platform.oci}
        name = f"{recipe.name}.Dockerfile"
        self._file: Dockerfile = read_dockerfile(recipe.dockerfile, name, arguments, environments)
        self._built: dict[str, _Built] = {}

    def build(self) -> _Built:
        """The last stage."""
        for number, stage in enumerate(self._file.stages):
            built = self._begin(stage)
            seen: set[str] = set()
            for instruction in stage.instructions:
                try:
                    self._carry_out(built, instruction, "CMD" in seen)
                except BuildError as error:
                    raise self._wrong(instruction.line, str(error)) from error
                seen.add(instruction.keyword)
            self._built[stage.name] = self._built[str(number)] = built
        return built

    def _begin(self, stage: Stage) -> _Built:
        if stage.base == "scratch":
            return _Built(empty_settings(self._recipe.platform))
        if earlier := self._built.get(stage.base):
            settings = deepcopy(earlier.settings)
            return _Built(settings, earlier.parent, dict(earlier.tree), list(earlier.added))
        image = self._recipe.images.get(stage.base)
        if image is None:
            known = ", ".join(sorted(self._recipe.images)) or "none"
            raise self._wrong(stage.line, f"FROM names {stage.base}, but the images at hand are: {known}")
        wanted = self._recipe.platform.oci_platform
        for platform in (image.platform, stage.platform or wanted):
            if platform != wanted:
                raise self._wrong(stage.line, f"{stage.base} is for {platform}, but {wanted} is needed")
        return _Built(
            inherited_settings(image.settings, self._recipe.created),
            image.layers,
            known_paths(image, self._cache),
        )

    def _carry_out(self, built: _Built, instruction: Instruction, has_command: bool) -> None:
        layer: Tree | None = None
        folder = built.settings["config"].get("WorkingDir") or "/"
        if instruction.keyword == "COPY":
            layer = self._copy(built, instruction, folder)
        elif instruction.keyword == "ADD":
            layer = self._add(built, instruction, folder)
        else:
            configure(built.settings["config"], instruction, has_command=has_command)
            if instruction.keyword == "WORKDIR":
                layer = _work_folder(built)
        if layer is not None:
            built.tree = overlaid(built.tree, layer)
            built.added.append((instruction, layer))
        if instruction.keyword != "ARG":
            record(built.settings, instruction, self._recipe.created, layer=layer is not None)

    def _copy(self, built: _Built, instruction: Instruction, folder: str) -> Tree:
        _check_flags(instruction, {"from", "chown", "chmod"})
        source = self._built.get(instruction.flag("from").lower())
        if source is None:
            raise BuildError("COPY takes files from an earlier stage only: give --from=STAGE")
        if source.parent:
            raise BuildError(
                "COPY out of a stage that starts from an image is not understood; use the buildx engine"
            )
        *sources, target = _places(instruction)
        into = target.endswith("/") or len(sources) > 1
        return copy(
            source.tree,
            sources,
            absolute(target, folder),
            below=built.tree,
            into=into,
            owner=_owner(instruction.flag("chown")),
            mode=_mode(instruction.flag("chmod")),
        )

    def _add(self, built: _Built, instruction: Instruction, folder: str) -> Tree:
        _check_flags(instruction, set())
        *sources, target = _places(instruction)
        layer: Tree = {}
        for source in sources:
            entries = self._recipe.context.get(absolute(source))
            if entries is None:
                known = ", ".join(sorted(self._recipe.context)) or "nothing"
                raise BuildError(f"{source} is not in the build context, which has {known}")
            layer |= unpacked(entries, absolute(target, folder), built.tree | layer)
        return layer

    def _wrong(self, line: int, sentence: str) -> BuildError:
        return BuildError(f"{self._file.at(line)}: {sentence}.")


def _environment(image: Image) -> dict[str, str]:
    config: dict[str, Any] = image.settings.get("config") or {}
    pairs = (str(one).partition("=") for one in config.get("Env") or ())
    return {key: value for key, _, value in pairs}


def _work_folder(built: _Built) -> Tree | None:
    config = built.settings["config"]
    path = absolute(config["WorkingDir"])
    there = built.tree.get(path)
    if not path or (there and there.kind in ("dir", "symlink")):
        return None
    if there:
        raise BuildError(f"WORKDIR {config['WorkingDir']} is a file in the image; name another folder")
    uid, gid = _owner(config.get("User", "")) or (0, 0)
    return copy(
        {path: LayerEntry(path, "dir", 0o755, uid, gid)}, ["/"], "", below=built.tree, owner=(uid, gid)
    )


def _places(instruction: Instruction) -> tuple[str, ...]:
    if len(instruction.words) < 2:
        raise BuildError(f"{instruction.keyword} wants a source and a destination")
    if wild := [word for word in instruction.words[:-1] if re.search(r"[*?\[]", word)]:
        raise BuildError(f"the wildcard {wild[0]} is not understood by the embedded engine; name the files")
    return instruction.words


def _check_flags(instruction: Instruction, known: set[str]) -> None:
    for name, _ in instruction.flags:
        if name not in known:
            raise BuildError(
                f"{instruction.keyword} --{name} is not understood by the embedded engine; remove it"
            )


def _owner(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"([0-9]+)(?::([0-9]+))?", text)
    if not match:
        raise BuildError(f"the owner {text} is a name; give numbers, UID:GID")
    return int(match[1]), int(match[2] or match[1])


def _mode(text: str) -> int | None:
    if text and not re.fullmatch(r"[0-7]{3,4}", text):
        raise BuildError(f"the mode {text} is not octal; give it as 755")
    return int(text, 8) if text else None
