"""Build one image of a tree by the embedded engine: `bench_engine.py TREE PLACE BASE-ARCHIVE [--fast]`."""

import shutil
import sys
from pathlib import Path

from pulsar_arm.engines import ENGINES
from pulsar_arm.formats.archive import read_directory
from pulsar_arm.formats.layer import LayerEntry, link_duplicates
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.host.progress import Silent
from pulsar_arm.image import Recipe
from pulsar_arm.platforms import AARCH64

tree, place, archive = map(Path, sys.argv[1:4])
out = place / "out"
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
entries = [
    LayerEntry(
        f"pulsar/{member.path}",
        member.kind,
        member.mode,
        source=tree / member.path if member.kind == "file" else None,
    )
    for member, _content in read_directory(tree)
    if member.kind in ("file", "dir")
]
recipe = Recipe(
    name="bench",
    platform=AARCH64,
    dockerfile="FROM scratch AS tree\nADD tree.tar /\nFROM base\nCOPY --from=tree / /\nWORKDIR /pulsar\n",
    context={"tree.tar": link_duplicates(entries)},
    images={"base": read_image(archive, AARCH64)},
    created="1970-01-01T00:00:00Z",
)
# What a build remembers of its base is kept, as it is between builds of a user.
fast = "--fast" in sys.argv
ENGINES["embedded"].build(recipe, out, fast=fast, progress=Silent(), cache=place / "paths")
