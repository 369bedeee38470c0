"""What an engine needs to make an image: the rendered Dockerfile, its build context, its bases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pulsar_arm.catalog import folder
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.platforms import Platform
from pulsar_arm.templates import render_dockerfile
from pulsar_arm.tree import Layer


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image to be built, the same for every engine."""

    name: str
    """`pulsar`, `pulsar-all`: the file is called `NAME.Dockerfile` in messages."""
    platform: Platform
    dockerfile: str
    """The rendered text."""
    context: Mapping[str, tuple[LayerEntry, ...]]
    """The tars of the build context: file name (`third-party.tar`) to members."""
    images: Mapping[str, Image]
    """The image behind each name that FROM uses."""
    created: str
    """RFC 3339, for the config and its history."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one image is to be, before its Dockerfile is rendered."""

    name: str
    version: str
    platform: Platform
    parent_name: str
    """What FROM says: the base's name, or the image below."""
    parent: Image | None
    """None while it is still to be built."""
    layers: tuple[Layer, ...]
    labels: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    user: str


def recipe(wish: Wish, created: str) -> Recipe:
    """Render the template of an image; CatalogError when the template is wrong."""
    text = render_dockerfile(
        wish.name,
        version=wish.version,
        platform=wish.platform.oci_platform,
        parent=wish.parent_name,
        layers=[layer.name for layer in wish.layers],
        labels=wish.labels,
        environment=wish.environment,
        user=wish.user,
    )
    context = {f"{layer.name}.tar": layer.entries for layer in wish.layers}
    images = {wish.parent_name: wish.parent} if wish.parent else {}
    return Recipe(wish.name, wish.platform, text, context, images, created)


def image_names() -> tuple[str, ...]:
    """The images there are templates for."""
    return tuple(sorted(path.name.split(".")[0] for path in folder("dockerfiles").glob("*.Dockerfile.j2")))
