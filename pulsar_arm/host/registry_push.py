"""Push images to a registry so that a tag names all of them or stays as it was.

Blobs first, several at a time and each at most once; then the manifests by digest, and the tag last. What the
registry has then is read back and compared, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pulsar_arm.errors import HostError, UsageError
from pulsar_arm.formats.oci import INDEX, MANIFEST, Image, index_of
from pulsar_arm.formats.reference import Reference, short
from pulsar_arm.host.progress import Advance, Progress
from pulsar_arm.host.registry import Registry
from pulsar_arm.host.registry_pull import Manifest, read_manifest
from pulsar_arm.host.registry_upload import Content, Upload
from pulsar_arm.host.web import NotThereError

_THREADS = 3
"""Uploads at once: a registry writes one blob to one file, and seldom as fast as the network is."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was done to have a tag name the images."""

    reference: Reference
    digest: str
    """Of the manifest, or of the index over several."""
    platforms: tuple[str, ...]
    sent: int
    """Bytes of the blobs that were sent."""
    size: int
    """Bytes of all blobs of the images."""
    mounted: int
    """Blobs that the registry took over from another of its repositories."""
    unchanged: bool
    """The tag named these very images already."""


def push(
    images: Sequence[Image],
    reference: Reference,
    registry: Registry,
    progress: Progress,
    *,
    force: bool = False,
    siblings: Sequence[str] = (),
) -> Pushed:
    """Have the tag of `reference` name `images`: one by its manifest, several by an index over them.

    UsageError when the tag names something else and `force` is not given. `siblings` are repositories of this
    registry that blobs may be taken over from. A failure leaves the tag as it was; what was uploaded is there
    for the next attempt, or the registry's garbage collection.
    """
    for repository in siblings:
        registry.allow(repository, "pull")
    registry.allow(reference.repository, "pull,push")
    registry.reach()
    return _Push(images, reference, registry, progress).run(force=force, siblings=siblings)


class _Push:
    def __init__(
        self, images: Sequence[Image], reference: Reference, registry: Registry, progress: Progress
    ) -> None:
        self._images, self._reference = images, reference
        self._registry, self._progress = registry, progress
        self._parts = tuple(Manifest(MANIFEST, image.manifest) for image in images)
        self._top = self._parts[0] if len(images) == 1 else Manifest(INDEX, index_of(images))

    def run(self, *, force: bool, siblings: Sequence[str]) -> Pushed:
        """Everything, in the order in which a failure does no harm."""
        contents = {one.digest: one for image in self._images for one in _contents(image)}
        uploads: list[Upload] = []
        mounted = 0
        unchanged = self._tag_is_ours(force=force)
        if not unchanged:
            total = sum(content.size for content in contents.values())
            with self._progress.task(f"Pushing {self._reference}", total) as advance:
                uploads = [self._upload(content, advance) for content in contents.values()]
                mounted = self._send(uploads, siblings)
            for manifest in dict.fromkeys((*self._parts, self._top)):
                self._put(manifest, manifest.digest)
            self._put(self._top, self._reference.tag)
        self._compare()
        return Pushed(
            self._reference,
            self._top.digest,
            tuple(image.platform for image in self._images),
            sum(upload.sent for upload in uploads),
            sum(content.size for content in contents.values()),
            mounted,
            unchanged,
        )

    def _tag_is_ours(self, *, force: bool) -> bool:
        """Whether the tag names these images already; UsageError when it must not be touched."""
        try:
            there = read_manifest(self._registry, self._reference, self._reference.tag)
        except NotThereError:
            return False
        if there.content == self._top.content:
            return True
        platforms = f", {' and '.join(there.platforms)}" if there.platforms else ""
        what = f"{self._reference} exists already and is another image ({short(there.digest)}{platforms})"
        if not force:
            raise UsageError(f"{what}: choose another --tag, or replace it with --force.")
        self._progress.note(f"{what}: it is replaced.")
        return False

    def _upload(self, content: Content, advance: Advance) -> Upload:
        def count(count: int) -> None:
            if self._registry.stopped.is_set():
                raise HostError(f"{self._reference} was not pushed: run again.")
            advance(count)

        return Upload(self._registry, self._reference.repository, content, count)

    def _send(self, uploads: Sequence[Upload], siblings: Sequence[str]) -> int:
        """Have every blob there; how many were taken over from siblings."""

        def send(upload: Upload) -> bool:
            if upload.is_there():
                upload.skip()
                return False
            for sibling in siblings:
                if upload.mount(sibling):
                    upload.skip()
                    return True
            upload.run()
            return False

        pool = ThreadPoolExecutor(_THREADS)
        try:
            return sum(pool.map(send, uploads))
        except BaseException:
            self._registry.stopped.set()
            pool.shutdown(cancel_futures=True)
            for upload in uploads:
                upload.give_up()
            raise
        finally:
            pool.shutdown()

    def _put(self, manifest: Manifest, point: str) -> None:
        url = self._registry.url(f"{self._reference.repository}/manifests/{point}")
        headers = {"Content-Type": manifest.media_type}
        self._registry.patiently(
            url,
            lambda: self._registry.send(
                "PUT", url, headers, body=lambda: manifest.content, good=(200, 201, 202)
            ).close(),
            done="pushed",
        )

    def _compare(self) -> None:
        """What the registry has under the tag must be what was meant, with every platform."""
        points = [(self._reference.tag, self._top)]
        if len(self._parts) > 1:
            points += [(part.digest, part) for part in self._parts]
        for point, manifest in points:
            there = read_manifest(self._registry, self._reference, point)
            if there.content != manifest.content:
                found = f"{self._reference} is {short(there.digest)} after the push"
                raise HostError(
                    f"{found}, not {short(manifest.digest)}: the registry rewrites manifests, or somebody "
                    "else pushes to this tag; run again."
                )


def _contents(image: Image) -> list[Content]:
    return [Content.of(layer) for layer in image.layers] + [Content.of(image.config)]
