"""Hand built images on: to a registry, to this machine's engine, or to both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulsar_arm.errors import HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.reference import Reference, read_reference
from pulsar_arm.host.docker_engine import LocalEngine, connect
from pulsar_arm.host.progress import Progress
from pulsar_arm.host.registry import Access, Registry
from pulsar_arm.host.registry_push import push

_MB = 1_000_000


class Publisher:
    """Where images go; that somebody is there to take them is asked before the work of a build begins."""

    def __init__(
        self,
        references: Sequence[str],
        access: Access,
        progress: Progress,
        *,
        to_registry: bool,
        to_engine: bool,
        force: bool,
    ) -> None:
        """HostError when no engine answers, or the registry does not or refuses the login."""
        self._progress, self._force = progress, force
        self._registry: Registry | None = None
        self._engine: LocalEngine | None = connect() if to_engine else None
        self._pushed: list[Reference] = []
        wanted = [read_reference(reference) for reference in references] if to_registry else []
        if wanted:
            self._registry = Registry(wanted[0].host, access, progress)
            for reference in wanted:
                self._registry.allow(reference.repository, "pull,push")
            self._registry.reach()

    def publish(self, reference: str, archive: Path, images: Sequence[Image]) -> None:
        """Push `images`, one for each platform, as `reference`, and load the archive that has them."""
        if self._registry:
            self._push(self._registry, read_reference(reference), images)
        if self._engine:
            self._load(self._engine, reference, archive, images)

    def _push(self, registry: Registry, reference: Reference, images: Sequence[Image]) -> None:
        siblings = [one.repository for one in self._pushed]
        pushed = push(images, reference, registry, self._progress, force=self._force, siblings=siblings)
        self._pushed.append(reference)
        sent = (
            "as it was" if pushed.unchanged else f"{pushed.sent / _MB:.1f} of {pushed.size / _MB:.1f} MB sent"
        )
        platforms = " and ".join(pushed.platforms)
        self._progress.note(f"{reference} is in the registry, {sent}: {pushed.digest} ({platforms}).")

    def _load(self, engine: LocalEngine, reference: str, archive: Path, images: Sequence[Image]) -> None:
        engine.load(archive, self._progress)
        held = engine.inspect(reference)
        fitting = [one for one in images if held and one.platform == held.platform]
        if held is None or not fitting:
            found = f"an image for {held.platform}" if held else "no image"
            raise HostError(
                f"The engine at {engine.address} has {found} as {reference} after loading "
                f"{archive}: load it by hand and read what the engine says."
            )
        # The engine calls an image by its config, or with containerd's store by its manifest or index.
        known = {digest for one in fitting for digest in (one.config_digest, one.digest)}
        if len(images) == 1 and held.digest not in known:
            raise HostError(
                f"{reference} is {held.digest} in the engine at {engine.address}, not "
                f"{fitting[0].config_digest}: another process loads under this name; run again."
            )
        self._progress.note(f"{reference} is in the engine: {held.digest} ({held.platform}).")
