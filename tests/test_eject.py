"""An ejected context is built by plain `docker buildx bake` to the trees and configs of our own engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from builders_engines import tree
from builders_oci import CREATED, file, folder, hardlink, image_of, symlink

from pulsar_arm.base_store import Base
from pulsar_arm.build import Order, Prepared
from pulsar_arm.eject import write_context
from pulsar_arm.engines import ENGINES
from pulsar_arm.formats.dockerfile import read_dockerfile
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.host.progress import Silent
from pulsar_arm.image import Recipe, Wish, recipe
from pulsar_arm.platforms import AARCH64, X86_64, Platform
from pulsar_arm.tree import Layer

CONFIG = {
    "Env": ["PATH=/jvm/bin:/bin", 'ODD=a "b" $c \\d'],
    "Cmd": ["bash", "-l"],
    "Labels": {"of the": "base"},
    "ExposedPorts": {"80/tcp": {}},
    "User": "5",
    "StopSignal": "SIGINT",
}


def base_of(where: Path, target: Platform) -> Base:
    below = [folder("etc"), file("etc/passwd", b"root"), file("etc/gone", b""), folder("tmp", 0o1777)]
    above = [folder("etc"), file("etc/.wh.gone"), hardlink("etc/again", "etc/first"), file("etc/first", b"1")]
    above += [symlink("lib", "usr/lib"), folder("usr"), folder("usr/lib")]
    above += [file("usr/machine", target.name.encode())]
    image = image_of(where / "base", below, above, architecture=target.oci, config=CONFIG)
    return Base("debian-made", image, (), "/jvm", "", "glibc-2.41")


def wishes(base: Base, target: Platform) -> tuple[Wish, Wish]:
    own = [folder("pulsar", 0o775, 10000), file("pulsar/conf", target.name.encode(), 0o664, 10000)]
    parts = (Layer("third-party", (*own[:1], file("pulsar/a.jar", b"a"))), Layer("pulsar", tuple(own)))
    labels, environment = (("for", f'a "{target.name}" $x'),), (("PULSAR_PID_DIR", "/pulsar/logs"),)
    server = Wish("pulsar", "9.9", target, base.name, base.image, parts, labels, environment, "10000")
    connectors = (Layer("connectors", (*own[:1], file("pulsar/connectors/k.nar", b"k"))),)
    return server, replace(server, name="pulsar-all", parent_name="pulsar", parent=None, layers=connectors)


def ejected(where: Path, platforms: Sequence[Platform]) -> tuple[Path, dict[tuple[str, str], Image]]:
    """A context, and what our own engine makes of the same recipes."""
    context, expected, prepared = where / "context", {}, []
    for target in platforms:
        base = base_of(where / target.oci, target)
        recipes = [recipe(wish, CREATED) for wish in wishes(base, target)]
        prepared.append((base, [Prepared(one, "{}") for one in recipes]))
        parents: dict[str, Image] = {}
        for one in recipes:
            whole = replace(one, images={**one.images, **parents})
            parents[one.name] = embedded(whole, where / "blobs")
            expected[one.name, target.oci] = parents[one.name]
    context.mkdir()
    order = Order(("pulsar", "pulsar-all"), None, "debian", "all", "made/here", "10000", tuple(platforms))
    write_context(context, order, "9.9", prepared, Silent())
    return context, expected


def embedded(one: Recipe, blobs: Path) -> Image:
    return ENGINES["embedded"].build(one, blobs, fast=False, progress=Silent())


def bake(context: Path, *options: str, builder: str = "default") -> None:
    done = subprocess.run(
        ["docker", "buildx", "bake", "--progress", "plain", *options],
        cwd=context,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "BUILDX_BUILDER": builder, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
    )
    assert done.returncode == 0, done.stderr


def config(image: Image) -> dict[str, object]:
    """Without what is empty, and BuildKit's mark that has no meaning on Linux."""
    return {key: value for key, value in image.settings["config"].items() if value and key != "ArgsEscaped"}


def test_the_context_holds_what_it_needs_and_its_dockerfile_runs_nothing(tmp_path: Path) -> None:
    context, _expected = ejected(tmp_path, (AARCH64, X86_64))
    dockerfile = read_dockerfile((context / "Dockerfile").read_text(), "Dockerfile", {"TARGETARCH": "arm64"})
    names = [stage.name for stage in dockerfile.stages]
    assert names[:3] == ["base-arm64", "pulsar-third-party-arm64", "pulsar-pulsar-arm64"]
    assert names[-3:] == ["pulsar-all-amd64", "pulsar", "pulsar-all"]
    instructions = [one for stage in dockerfile.stages for one in stage.instructions]
    assert "RUN" not in {one.keyword for one in instructions}
    added = {one.words[0] for one in instructions if one.keyword == "ADD"}
    assert added == {str(tar.relative_to(context)) for tar in context.rglob("*.tar")}
    assert {path.name for path in context.iterdir()} == {
        *("Dockerfile", "docker-bake.hcl", ".dockerignore", "README.md", "arm64", "amd64")
    }
    assert (context / "arm64" / "pulsar" / "receipt.json").read_text() == "{}"
    assert "docker buildx create" in (context / "README.md").read_text()


def test_one_platform_is_baked_by_the_engine_itself(tmp_path: Path) -> None:
    if lacks := ENGINES["buildx"].lacks("", AARCH64):
        pytest.skip(lacks)
    if subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no buildx")
    context, expected = ejected(tmp_path, (AARCH64,))
    names = {name: f"pulsar-arm-test-{os.getpid()}/{name}:9.9" for name in ("pulsar", "pulsar-all")}
    try:
        bake(context, *(f"--set={name}.tags={tag}" for name, tag in names.items()), "--load")
        for name, tag in names.items():
            archive = tmp_path / f"{name}.tar"
            subprocess.run(["docker", "save", "-o", str(archive), tag], check=True, timeout=60)
            image = read_image(archive, AARCH64)
            assert tree(image) == tree(expected[name, "arm64"])
            assert config(image) == config(expected[name, "arm64"])
    finally:
        subprocess.run(["docker", "rmi", "-f", *names.values()], capture_output=True, check=False)


def test_two_platforms_are_baked_into_one_index(tmp_path: Path, own_builder: str) -> None:
    context, expected = ejected(tmp_path, (AARCH64, X86_64))
    archive = tmp_path / "baked.tar"
    bake(context, "pulsar-all", f"--set=*.output=type=oci,dest={archive}", builder=own_builder)
    for target in (AARCH64, X86_64):
        image = read_image(archive, target)
        assert tree(image) == tree(expected["pulsar-all", target.oci])
        assert config(image) == config(expected["pulsar-all", target.oci])
