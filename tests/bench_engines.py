"""Every engine that is here on one tree of the real 2.6.0: cold, and with one native jar changed.

`bench_engines.py CACHE PLACE` (the release and its base are made or taken from CACHE). buildx is given a
BuildKit of its own when buildkitd is here, so that its first build is a cold one; buildah always is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pulsar_arm.base import debian_base
from pulsar_arm.catalog import folder, load_catalog
from pulsar_arm.engines import ENGINES
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.image import Recipe, Wish, recipe
from pulsar_arm.patches import load_patches
from pulsar_arm.pipeline import Pipeline
from pulsar_arm.platforms import AARCH64
from pulsar_arm.releases import release
from pulsar_arm.scan import scan
from pulsar_arm.tree import Owner, server_layers

RELEASE = "2.6.0"


def prepared(cache: Path, place: Path) -> tuple[Recipe, Path]:
    """The recipe of `pulsar`, and a jar with natives in it."""
    quiet, row = Silent(), release(RELEASE)
    catalog = load_catalog()
    repository = Repository(cache, offline=True, progress=quiet)
    pipeline = Pipeline(repository, catalog, load_patches(folder("patches")), AARCH64, cache, quiet, True)
    source = pipeline.open(RELEASE)
    if not (place / "tree").exists():
        pipeline.port(source, pipeline.scan(source), place / "tree", force=True)
    inventory = scan(pipeline.open(str(place / "tree")), catalog, AARCH64, quiet)
    layers = server_layers(place / "tree", inventory, {}, row, Owner(10000, 0))
    definition = folder("dockerfiles") / "bases" / "debian.toml"
    base = debian_base(definition, row.jre, AARCH64, cache, offline=True, progress=quiet).image
    wish = Wish("pulsar", RELEASE, AARCH64, "debian", base, layers, (("a", "b"),), row.environment, "10000")
    jar = next((place / "tree" / "lib").glob("org.rocksdb-rocksdbjni-*.jar"))
    return recipe(wish, "1970-01-01T00:00:00Z"), jar


@contextmanager
def own_builder(place: Path) -> Iterator[str]:
    """What to call buildx with a BuildKit that has built nothing yet, or with the one that is here."""
    if not shutil.which("buildkitd"):
        yield "buildx (warm: no buildkitd here)"
        return
    address = f"unix://{place}/socket"
    with (place / "buildkitd.log").open("wb") as log:
        options = ["--addr", address, "--root", str(place / "buildkit"), "--oci-worker-net=host"]
        daemon = subprocess.Popen(["buildkitd", *options], stdout=log, stderr=log)
    create = ["docker", "buildx", "create", "--name", "pulsar-arm-bench", "--driver", "remote", address]
    try:
        subprocess.run(create, check=True, capture_output=True)
        os.environ["BUILDX_BUILDER"] = "pulsar-arm-bench"
        inspect = ["docker", "buildx", "inspect", "--bootstrap", "pulsar-arm-bench"]
        subprocess.run(inspect, check=True, capture_output=True)
        yield "buildx, a BuildKit of its own"
    finally:
        subprocess.run(["docker", "buildx", "rm", "pulsar-arm-bench"], capture_output=True, check=False)
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(place / "buildkit", ignore_errors=True)


def build(name: str, ordered: Recipe, blobs: Path) -> tuple[Image, float]:
    """The image of one build, and its seconds; what `embedded` remembers of a base is as between builds."""
    started = time.monotonic()
    quiet = Silent()
    image = ENGINES[name].build(ordered, blobs, fast=False, progress=quiet, cache=blobs.parent / "paths")
    return image, time.monotonic() - started


def main() -> None:
    """Print seconds and bytes of each engine, in turn."""
    cache, place = (Path(word).absolute() for word in sys.argv[1:3])
    place.mkdir(parents=True, exist_ok=True)
    ordered, jar = prepared(cache, place)
    build("embedded", replace(ordered, dockerfile="FROM debian\n"), place / "blobs")
    content = jar.read_bytes()
    with own_builder(place) as own:
        for name, label in (("embedded", "embedded"), ("buildx", own), ("podman", "podman (buildah)")):
            if lacks := ENGINES[name].lacks("", AARCH64):
                print(f"{label}: left out, {lacks}")
                continue
            try:
                shutil.rmtree(place / "blobs", ignore_errors=True)
                cold, first = build(name, ordered, place / "blobs")
                jar.write_bytes(content + b"changed")
                changed, second = build(name, ordered, place / "blobs")
            finally:
                jar.write_bytes(content)
            known = {layer.digest for layer in cold.layers}
            new = sum(layer.size for layer in changed.layers if layer.digest not in known)
            total = sum(layer.size for layer in changed.layers)
            share = f"{new / 1e6:.1f} of {total / 1e6:.1f} MB to push ({new / total:.0%})"
            print(f"{label}: cold {first:.1f} s, one native jar changed {second:.1f} s, {share}", flush=True)


if __name__ == "__main__":
    main()
