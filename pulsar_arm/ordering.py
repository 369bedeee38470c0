"""The options that say which images are wanted, shared by the commands that make or prepare them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pulsar_arm.authorities import read_authorities
from pulsar_arm.base_definition import base_names
from pulsar_arm.build import Order
from pulsar_arm.errors import UsageError
from pulsar_arm.image import image_names
from pulsar_arm.options import SOURCE, catalog_option
from pulsar_arm.pipeline import DEFAULT_BASE
from pulsar_arm.platforms import AARCH64, Platform, platform

DEFAULT_TAG = "pulsar-arm"


def order_options(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of an order; the function gets `order`, and `own`, the folder of --catalog, for them."""
    options = (
        click.option(
            "--images", default="pulsar", show_default=True, metavar="NAME[,NAME...]", help="Which images."
        ),
        click.option(
            "--from",
            "source",
            envvar=f"PULSAR_ARM_{command}_FROM",
            metavar="SOURCE",
            help=f"What to build from: {SOURCE}.",
        ),
        click.option(
            "--base",
            default=DEFAULT_BASE,
            show_default=True,
            metavar="BASE",
            help=f"{', '.join(base_names())}; NAME=IMAGE to start from another image; a base FILE.toml of "
            "yours; an OCI layout or archive, or NAME:TAG in engine or registry.",
        ),
        click.option(
            "--platform",
            "platforms",
            envvar=f"PULSAR_ARM_{command}_PLATFORM",
            default=AARCH64.oci_platform,
            show_default=True,
            metavar="PLATFORM[,PLATFORM...]",
            help="linux/arm64, linux/amd64; several make one index.",
        ),
        click.option(
            "--connectors",
            default="all",
            show_default=True,
            metavar="all|NAME[,NAME...]",
            help="For pulsar-all.",
        ),
        click.option("--tag", default=DEFAULT_TAG, show_default=True, metavar="REPOSITORY-PREFIX[:TAG]"),
        click.option(
            "--user", default="10000", show_default=True, metavar="UID[:GID]", help="Who the server runs as."
        ),
        click.option(
            "--label",
            "labels",
            envvar=f"PULSAR_ARM_{command}_LABEL",
            multiple=True,
            metavar="KEY=VALUE",
            help="A label of the images; may be given several times.",
        ),
        click.option(
            "--extra-ca",
            type=click.Path(path_type=Path),
            multiple=True,
            metavar="FILE",
            help="Trust the certificates (PEM) in FILE too; may be given several times.",
        ),
        click.option("--mirror", metavar="URL", help="The Debian mirror for the base."),
        click.option("--refresh", is_flag=True, help="Look for newer packages of the base."),
        catalog_option(command),
    )

    def add(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def ordered(
            *arguments: Any,
            images: str,
            source: str | None,
            base: str,
            platforms: str,
            connectors: str,
            tag: str,
            user: str,
            labels: tuple[str, ...],
            extra_ca: tuple[Path, ...],
            mirror: str | None,
            refresh: bool,
            own: Path | None,
            **others: Any,
        ) -> None:
            order = Order(
                images=_images(images),
                source=source,
                base=base,
                platforms=_platforms(platforms),
                connectors=connectors,
                tag=tag,
                user=user,
                mirror=mirror,
                refresh=refresh,
                labels=tuple(_label(text) for text in labels),
                authorities=read_authorities(extra_ca),
            )
            function(*arguments, order=order, own=own, **others)

        for option in reversed(options):
            ordered = option(ordered)
        return ordered

    return add


def _images(text: str) -> tuple[str, ...]:
    names = _words(text)
    known = image_names()
    if unknown := [name for name in names if name not in known] or (["(none)"] if not names else []):
        raise UsageError(f"--images {unknown[0]} is not known: choose among {', '.join(known)}.")
    return names


def _platforms(text: str) -> tuple[Platform, ...]:
    found = tuple(platform(word) for word in _words(text))
    if not found:
        raise UsageError("--platform names none: give linux/arm64, linux/amd64 or both.")
    return tuple(dict.fromkeys(found))


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or key.split() != [key]:
        raise UsageError(f"--label {text} is no KEY=VALUE.")
    return key, value


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
