"""Write what a build hands over: per image its archive, and per platform receipt, packages, layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm import report
from pulsar_arm.base_store import Base
from pulsar_arm.build import Made, Order
from pulsar_arm.errors import UsageError
from pulsar_arm.formats.oci import Image, digest, index_of
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.host.files import whole_file
from pulsar_arm.platforms import Platform
from pulsar_arm.reports.layers import LayerRow, layers_json


@dataclass(frozen=True, slots=True)
class Delivered:
    """An image that was written."""

    name: str
    reference: str
    digest: str
    """Of the manifest, or of the index over several platforms."""
    archive: Path
    receipts: tuple[Path, ...]
    """One a platform."""
    packages: tuple[Path, ...]
    """One a platform."""
    layers: tuple[tuple[str, tuple[LayerRow, ...]], ...]
    """Platform (`linux/arm64`) and layers."""


class Delivery:
    """Where the files of a build go, asked before the work begins.

    The archive is named `IMAGE-VERSION-OS-ARCH.tar`, with several platforms `IMAGE-VERSION.tar`; receipt,
    package list and layers belong to one platform and always name it.
    """

    def __init__(self, order: Order, version: str) -> None:
        """UsageError when a file stands in the way and the order does not force it."""
        self._order, self._version = order, version
        prefix, tag = split_tag(order.tag)
        self._references = {name: f"{prefix}/{name}:{tag or version}" for name in order.images}
        self.references = tuple(self._references.values())
        """What the images will be called, in the order's order."""
        for name in order.images:
            beside = [self._beside(name, platform) for platform in order.platforms]
            for path in (self._archive(name), *(path for pair in beside for path in pair)):
                if path.exists() and not order.force:
                    raise UsageError(
                        f"{path} exists already: name another --output, or replace it with --force."
                    )

    def write(self, built: Sequence[tuple[Base, Sequence[Made]]]) -> tuple[Delivered, ...]:
        """Write every image, `built` in the order of the platforms; each file appears whole or not at all."""
        bases = [base for base, _made in built]
        alike = zip(*(made for _base, made in built), strict=True)
        return tuple(self._write(made, bases) for made in alike)

    def _write(self, made: Sequence[Made], bases: Sequence[Base]) -> Delivered:
        name, force = made[0].name, self._order.force
        images = [one.image for one in made]
        archive, reference = self._archive(name), self._references[name]
        write_archive(images, archive, reference, force=force)
        beside = [self._beside(name, platform) for platform in self._order.platforms]
        for paths, one, base in zip(beside, made, bases, strict=True):
            layers = report.dump(layers_json(one.image.digest, one.layers))
            for path, text in zip(paths, (one.receipt, base.package_list, layers), strict=True):
                with whole_file(path, force=force) as place:
                    place.write_text(text, encoding="utf-8")
        receipts, lists, _layers = zip(*beside, strict=True)
        told = tuple((one.image.platform, one.layers) for one in made)
        return Delivered(name, reference, _digest(images), archive, receipts, lists, told)

    def _archive(self, name: str) -> Path:
        platforms = self._order.platforms
        one = f"-{_spelled(platforms[0])}" if len(platforms) == 1 else ""
        return self._order.output / f"{name}-{self._version}{one}.tar"

    def _beside(self, name: str, platform: Platform) -> tuple[Path, ...]:
        stem = f"{name}-{self._version}-{_spelled(platform)}"
        return tuple(self._order.output / f"{stem}.{what}.json" for what in ("receipt", "packages", "layers"))


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and tag of `REPOSITORY-PREFIX[:TAG]`, the tag empty when there is none; else UsageError."""
    folder, slash, last = tag.rpartition("/")
    name, _colon, version = last.partition(":")
    if not name:
        raise UsageError(f"--tag {tag!r} is no REPOSITORY-PREFIX[:TAG].")
    return f"{folder}{slash}{name}", version


def _spelled(platform: Platform) -> str:
    return platform.oci_platform.replace("/", "-")


def _digest(images: Sequence[Image]) -> str:
    return images[0].digest if len(images) == 1 else digest(index_of(images))
