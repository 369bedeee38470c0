"""The members of a container image that a scan looks at.

Java archives (.jar, .nar, .war, .ear) are looked at wherever they lie; other files neither in the folders of
the operating system (`/usr/lib` and the like), whose programs are built for the image's own machine, nor in a
Java runtime, which comes for the machine as a whole. Symbolic links are left out: a layer's files lie where
the links lead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from pulsar_arm.formats.archive import Content, Guarded, Member
from pulsar_arm.formats.blob import DAMAGED
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import Root, RootEntry

JAVA_ARCHIVES = (".jar", ".nar", ".war", ".ear")
# Filesystem Hierarchy Standard 3.0, chapters 3 and 4; /opt, /srv and /usr/share are for other software.
_SYSTEM = re.compile(
    r"(?:usr/(?:local/)?)?(?:s?bin|lib(?:32|64|x32|exec)?|etc|include)/|(?:boot|dev|etc|proc|run|sys|tmp|var)/"
)
# Of Java 8 (jre/lib/amd64/server) and later (lib/server).
_RUNTIME = re.compile(r"(?P<home>.+?/)(?:jre/)?lib/(?:[^/]+/)?(?:server|client|minimal|zero)/libjvm\.so")


def image_members(image: Image) -> Iterator[Content]:
    """Every folder and file of the final tree, hard links too; content for what is looked at.

    InputError where a layer is damaged, or its tree leads out of the image.
    """
    root = Root(image)
    homes = tuple({match["home"] for path in root.paths() if (match := _RUNTIME.fullmatch(path))})
    for item in root.entries():
        entry = item.entry
        if entry.kind == "symlink":
            continue
        content = _content(item, image) if _looked_at(entry.path, homes) else None
        yield Member(entry.path, entry.kind, entry.mode, item.size, link=entry.link), content


def _looked_at(path: str, homes: tuple[str, ...]) -> bool:
    return path.endswith(JAVA_ARCHIVES) or not (_SYSTEM.match(path) or path.startswith(homes))


def _content(item: RootEntry, image: Image) -> IO[bytes] | None:
    if item.content is None:
        return None
    where = Path(f"the image {image.config_digest}")
    return cast("IO[bytes]", _Streamed(cast("IO[bytes]", item.content), where, DAMAGED))


class _Streamed(Guarded):
    """A content inside a packed layer, which cannot go back."""

    def seekable(self) -> bool:
        return False
