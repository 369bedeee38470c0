"""Names of images as docker writes them: `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.errors import UsageError
from pulsar_arm.formats.blob import DIGEST

HUB = "docker.io"
"""The registry of names without a host."""
REGISTRY = "docker://"
"""Before a name, as skopeo has it: it is meant in its registry."""
ENGINE = "docker-daemon:"
"""Before a name: it is meant in this machine's engine."""

# The grammar of distribution/reference, which every registry and engine shares.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")
_FILES = (".tar", ".gz", ".tgz", ".jar", ".nar", ".zip", ".xz", ".zst", ".json")
_LONGEST = 255
_SHORT_DIGEST = 12 + len("sha256:")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image somewhere: by tag, by digest, or by both, where the digest counts."""

    host: str
    """`docker.io`, `localhost:5000`."""
    repository: str
    """`library/debian`."""
    tag: str
    """Empty when only a digest was given."""
    digest: str = ""
    """`sha256:` and 64 hexadecimal digits, or empty."""

    @property
    def name(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def point(self) -> str:
        """What a registry is asked for below `manifests/`: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return f"{self.name}{tag}{digest}"


def read_reference(text: str) -> Reference:
    """The image that `text` names, with docker's defaults; UsageError when it is no such name.

    A first part with a dot or a colon in it, or `localhost`, is the host; without one it is Docker Hub, whose
    names of one part stand below `library/`. Without tag and digest, the tag is `latest`.
    """
    rest, at, digest = text.partition("@")
    first, slash, last = rest.partition("/")
    if slash and (first == "localhost" or set(".:[") & set(first) or first.lower() != first):
        host, path = first, last
    else:
        host, path = HUB, rest
    folder, slash, last = path.rpartition("/")
    name, colon, tag = last.partition(":")
    repository = f"{folder}{slash}{name}"
    if host in (HUB, f"index.{HUB}"):
        host, repository = HUB, repository if "/" in repository else f"library/{repository}"
    if at and not DIGEST.fullmatch(digest):
        raise UsageError(f"{text} has no digest behind its @: give sha256: and 64 hexadecimal digits.")
    if colon and not _TAG.fullmatch(tag):
        raise UsageError(f"{text} has no tag behind its colon: give letters, digits, dots and hyphens.")
    if not _HOST.fullmatch(host) or not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST:
        raise UsageError(f"{text} is no name of an image: give [HOST[:PORT]/]REPOSITORY[:TAG] in lower case.")
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)


def is_reference(text: str) -> bool:
    """Whether SOURCE means an image elsewhere: it has a tag, a digest or a prefix, and is no path."""
    if text.startswith((REGISTRY, ENGINE)):
        return True
    last = text.rpartition("/")[2]
    if not set(":@") & set(last) or last.endswith(_FILES) or Path(text).exists():
        return False
    try:
        read_reference(text)
    except UsageError:
        return False
    return True


def short(digest: str) -> str:
    """The beginning of a digest, enough for people."""
    return digest[:_SHORT_DIGEST]
