"""Write what a build hands over: per image its archive, the receipt and the package list of its base."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.base_store import Base
from pulsar_arm.build import Made, Order
from pulsar_arm.errors import UsageError
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.host.files import whole_file
from pulsar_arm.platforms import Platform


@dataclass(frozen=True, slots=True)
class Delivered:
    """An image that was written."""

    name: str
    reference: str
    digest: str
    """Of the manifest."""
    archive: Path
    receipt: Path
    packages: Path


class Delivery:
    """Where the files of a build go, asked before the work begins."""

    def __init__(self, order: Order, version: str, target: Platform) -> None:
        """UsageError when a file stands in the way and the order does not force it."""
        self._force = order.force
        self._prefix, self._tag = _split_tag(order.tag)
        self._tag = self._tag or version
        place = f"{version}-{target.oci_platform.replace('/', '-')}"
        self.references = tuple(f"{self._prefix}/{name}:{self._tag}" for name in order.images)
        """What the images will be called, in the order's order."""
        self._stems = {name: order.output / f"{name}-{place}" for name in order.images}
        for stem in self._stems.values():
            for path in (_with(stem, suffix) for suffix in ("tar", "receipt.json", "packages.json")):
                if path.exists() and not order.force:
                    raise UsageError(
                        f"{path} exists already: name another --output, or replace it with --force."
                    )

    def write(self, images: Iterable[Made], base: Base) -> tuple[Delivered, ...]:
        """Write every image; each file appears whole or not at all."""
        return tuple(self._write(made, base) for made in images)

    def _write(self, made: Made, base: Base) -> Delivered:
        stem = self._stems[made.name]
        delivered = Delivered(
            name=made.name,
            reference=f"{self._prefix}/{made.name}:{self._tag}",
            digest=made.image.digest,
            archive=_with(stem, "tar"),
            receipt=_with(stem, "receipt.json"),
            packages=_with(stem, "packages.json"),
        )
        write_archive(made.image, delivered.archive, delivered.reference, force=self._force)
        for path, text in ((delivered.receipt, made.receipt), (delivered.packages, base.package_list)):
            with whole_file(path, force=self._force) as place:
                place.write_text(text, encoding="utf-8")
        return delivered


def _with(stem: Path, suffix: str) -> Path:
    """`stem` may end in a version, whose last number is no suffix."""
    return stem.with_name(f"{stem.name}.{suffix}")


def _split_tag(tag: str) -> tuple[str, str]:
    folder, slash, last = tag.rpartition("/")
    name, _colon, version = last.partition(":")
    if not name:
        raise UsageError(f"--tag {tag!r} is no REPOSITORY-PREFIX[:TAG].")
    return f"{folder}{slash}{name}", version
