"""Remember what lies where in an image, so that a base is decompressed once and not for every build."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pulsar_arm.engines.copying import Tree
from pulsar_arm.errors import HostError
from pulsar_arm.formats.layer import Kind, LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import root_paths


def known_paths(image: Image, folder: Path) -> Tree:
    """The final tree of `image` without content, from a file in `folder` or from its layers."""
    try:
        rows = json.loads(_file(image, folder).read_bytes())
        return {path: LayerEntry(path, cast(Kind, row[0]), *row[1:]) for path, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        # Not there, or damaged: it is made from the image, and anew.
        tree = root_paths(image)
    remember_paths(image, tree, folder)
    return tree


def remember_paths(image: Image, tree: Mapping[str, LayerEntry], folder: Path) -> None:
    """Write the final tree of `image` for `known_paths`; HostError when `folder` cannot be written."""
    rows = {path: _row(tree, entry) for path, entry in tree.items()}
    target = _file(image, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(rows, file)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"{target} cannot be written: {error.strerror}; choose another folder.") from error


def _row(tree: Mapping[str, LayerEntry], entry: LayerEntry) -> tuple[str, int, int, int, str]:
    # As in `root_paths`, a hard link is the file it is.
    real = tree[entry.link] if entry.kind == "hardlink" else entry
    return real.kind, real.mode, real.uid, real.gid, real.link


def _file(image: Image, folder: Path) -> Path:
    # The tree follows from the diff IDs in their order, whatever the compression.
    stack = "\n".join(layer.diff_id for layer in image.layers)
    return folder / f"{hashlib.sha256(stack.encode()).hexdigest()}.paths.json"
