"""What the engines that are programs of their own share: the context they read, the image they give back."""

from __future__ import annotations

import platform as machine
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulsar_arm.engines.settings import inherited_settings
from pulsar_arm.errors import BuildError
from pulsar_arm.formats.blob import LAYER_TAR, LayerBlob
from pulsar_arm.formats.compress import BlobWriter
from pulsar_arm.formats.dockerfile import read_dockerfile
from pulsar_arm.formats.layer import write_layer
from pulsar_arm.formats.oci import Image, render
from pulsar_arm.host.files import told
from pulsar_arm.host.process import follow
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Recipe
from pulsar_arm.platforms import Platform, platform

_PIECE = 1 << 20
# BuildKit: `#7 [stage-2 2/4] COPY ...`; buildah: `[3/3] STEP 2/7: COPY ...` or `STEP 2/7: COPY ...`.
_STEP = re.compile(r"(?:#\d+ )?((?:\[[^\]]*\d+/\d+\] |STEP \d).*)")


@dataclass(frozen=True, slots=True)
class Job:
    """One Dockerfile to be built, as a program is told of it."""

    name: str
    """`pulsar`: for messages."""
    dockerfile: str
    """The text."""
    context: Path
    """The folder that ADD and COPY take from."""
    platform: Platform
    images: Mapping[str, Image] = field(default_factory=dict)
    """The image behind each name that FROM uses; a name that is not here is the engine's to find."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Values for ARG."""
    created: str = "1970-01-01T00:00:00Z"
    """RFC 3339, for the config and its history."""


class External(ABC):
    """An engine that is a program: it reads a folder and gives an archive."""

    name: str

    @abstractmethod
    def lacks(self, dockerfile: str, target: Platform) -> str:
        """Why `dockerfile` cannot be built for `target` here, in a clause with what mends it; else empty."""

    @abstractmethod
    def _run(self, job: Job, place: Path, progress: Progress) -> Image:
        """Build `job` with `place`, an empty folder, to write to; nothing else may be left behind."""

    def build(
        self, recipe: Recipe, blobs: Path, *, fast: bool, progress: Progress, cache: Path | None = None
    ) -> Image:
        """Build `recipe`; layers that an image of it has already stay the very same blobs."""
        with _folder(blobs) as place:
            context = place / "context"
            context.mkdir()
            for name, entries in recipe.context.items():
                with told(context / name), (context / name).open("wb") as tar:
                    write_layer(entries, tar)
            images, created = recipe.images, recipe.created
            job = Job(recipe.name, recipe.dockerfile, context, recipe.platform, images, created=created)
            return self.build_job(job, blobs, fast=fast, progress=progress)

    def build_job(self, job: Job, blobs: Path, *, fast: bool = False, progress: Progress) -> Image:
        """Build any Dockerfile with any context, writing new layers into the folder `blobs`.

        BuildError with the program's own last words when it fails, and for an image of another platform.
        """
        for name, image in job.images.items():
            if image.platform != job.platform.oci_platform:
                sentence = f"{name} is for {image.platform}, but {job.platform.oci_platform} is needed"
                raise BuildError(f"{job.name}.Dockerfile: {sentence}.")
        with _folder(blobs) as place:
            label = f"{job.name} for {job.platform.oci_platform}, built by {self.name}"
            with progress.task(label, None):
                built = self._run(job, place, progress)
            return _adopted(built, job, blobs, fast)


def follow_build(argv: list[str], job: Job, progress: Progress, env: Mapping[str, str] | None = None) -> None:
    """Run a program that builds, telling its steps; BuildError with its last words when it fails."""
    steps: set[str] = set()

    def tell(line: str) -> None:
        found = _STEP.fullmatch(line)
        if found and found[1] not in steps:
            steps.add(found[1])
            progress.note(f"  {found[1]}")

    status, last = follow(argv, tell, env=env)
    if status:
        said = [line for line in last if line.strip() and not line.startswith(("-----", ">>>"))]
        words = next(
            (line for line in reversed(said) if "rror" in line), said[-1] if said else "it said nothing"
        )
        raise BuildError(f"{job.name}.Dockerfile: {' '.join(argv[:2])} ended with status {status}: {words}.")


def emulated_run(dockerfile: str, target: Platform) -> int:
    """The first line of `dockerfile` that runs a program of another machine than this, 0 when none does.

    A stage with `--platform=$BUILDPLATFORM` runs programs of this machine.
    """
    here = platform(machine.machine())
    arguments = {"BUILDPLATFORM": here.oci_platform, "BUILDARCH": here.oci, "BUILDOS": "linux"}
    arguments |= {"TARGETPLATFORM": target.oci_platform, "TARGETARCH": target.oci, "TARGETOS": "linux"}
    platforms: dict[str, str] = {}
    for stage in read_dockerfile(dockerfile, "Dockerfile", arguments).stages if dockerfile else ():
        wanted = stage.platform or platforms.get(stage.base, target.oci_platform)
        platforms[stage.name] = wanted
        runs = [one.line for one in stage.instructions if one.keyword == "RUN"]
        if runs and wanted != here.oci_platform:
            return runs[0]
    return 0


@contextmanager
def _folder(blobs: Path) -> Iterator[Path]:
    """A folder for what is handed over, on the disk of the blobs; it goes in any case."""
    with told(blobs):
        blobs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".engine-", dir=blobs, ignore_cleanup_errors=True) as place:
            yield Path(place).absolute()


def _adopted(image: Image, job: Job, blobs: Path, fast: bool) -> Image:
    """The image with its layers in `blobs`, compressed, and its config as every engine would say it."""
    known = {layer.diff_id: layer for parent in job.images.values() for layer in parent.layers}
    layers = tuple(known.get(layer.diff_id) or _stored(layer, blobs, fast) for layer in image.layers)
    settings = inherited_settings(image.settings, job.created)
    settings["created"] = job.created
    for step in settings["history"]:
        step["created"] = job.created
    for foreign in [key for key in settings if key.startswith("moby.")]:
        del settings[foreign]
    # ArgsEscaped is of no meaning on Linux (OCI image-spec, config.md).
    said = settings["config"].items()
    config = {key: value for key, value in said if value is not None and key != "ArgsEscaped"}
    if "Env" in config:
        # buildah puts a variable that is set anew at the end, BuildKit where it was.
        inherited = [line for parent in job.images.values() for line in _environment(parent)]
        places = {line.partition("=")[0]: place for place, line in enumerate(inherited)}
        config["Env"] = sorted(
            config["Env"], key=lambda line: places.get(line.partition("=")[0], len(places))
        )
    settings["config"] = config
    return Image(render(settings), layers)


def _environment(image: Image) -> list[str]:
    config: dict[str, Any] = image.settings.get("config") or {}
    return list(config.get("Env") or ())


def _stored(layer: LayerBlob, blobs: Path, fast: bool) -> LayerBlob:
    if layer.media_type == LAYER_TAR:
        with layer.open_tar() as tar, BlobWriter(blobs, fast=fast) as writer:
            shutil.copyfileobj(tar, writer, _PIECE)
            return writer.close()
    target = blobs / layer.hex
    with told(target), layer.open() as stored, target.open("wb") as file:
        shutil.copyfileobj(stored, file, _PIECE)
    return LayerBlob(
        digest=layer.digest, size=layer.size, media_type=layer.media_type, path=target, diff_id=layer.diff_id
    )
