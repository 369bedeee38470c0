"""The ways to turn a Recipe into an image, by the name that `--engine` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pulsar_arm.engines.buildx import Buildx
from pulsar_arm.engines.embedded import Embedded
from pulsar_arm.engines.podman import Podman
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Recipe
from pulsar_arm.platforms import Platform


class Engine(Protocol):
    """What builds images."""

    name: str

    def lacks(self, dockerfile: str, target: Platform) -> str:
        """Why `dockerfile` cannot be built for `target` here, in a clause with what mends it; else empty.

        Asked before the work begins, and cheap; an empty `dockerfile` asks for the engine itself.
        """
        ...

    def build(
        self, recipe: Recipe, blobs: Path, *, fast: bool, progress: Progress, cache: Path | None = None
    ) -> Image:
        """Build `recipe`, writing new layers into the folder `blobs`; BuildError when it cannot.

        What would spare the next build work is kept in `cache` (else in `blobs`), and may be lost.

        `fast` may give up that digests are equal on every machine, never that diff IDs are.
        """
        ...


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Embedded(), Buildx(), Podman())}
"""In the order in which `auto` tries them."""
