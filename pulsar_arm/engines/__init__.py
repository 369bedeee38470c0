"""The ways to turn a Recipe into an image, by the name that `--engine` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pulsar_arm.engines.embedded import Embedded
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Recipe


class Engine(Protocol):
    """What builds images."""

    name: str

    def build(
        self, recipe: Recipe, blobs: Path, *, fast: bool, progress: Progress, cache: Path | None = None
    ) -> Image:
        """Build `recipe`, writing new layers into the folder `blobs`; BuildError when it cannot.

        What would spare the next build work is kept in `cache` (else in `blobs`), and may be lost.

        `fast` may give up that digests are equal on every machine, never that diff IDs are.
        """
        ...


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Embedded(),)}
