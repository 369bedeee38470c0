"""Hold the catalog against the repository: each jar that an override names must still be what it says."""

from __future__ import annotations

from pulsar_arm.catalog import Catalog, Override, Remedy
from pulsar_arm.host.fetch import WrongFileError
from pulsar_arm.host.maven import Coordinate, NotPublished, Repository
from pulsar_arm.licence import licence_of
from pulsar_arm.platforms import Platform
from pulsar_arm.published import libraries


def recheck(
    override: Override, remedy: Remedy, catalog: Catalog, target: Platform, repository: Repository
) -> tuple[str, ...]:
    """What is wrong by now with a remedy that brings a jar; nothing, when all is as it was written.

    The jar comes from the cache where it is there, and is then compared by the sha1 that the repository
    publishes. HostError when the network fails, not when the jar is gone or another: that is an answer.
    """
    coordinate = Coordinate.parse(remedy.coordinate)
    try:
        fetched = repository.fetch(coordinate, sha256=remedy.sha256)
    except NotPublished:
        return ("it is not published there",)
    except WrongFileError:
        return (f"the file there is not the one of sha256 {remedy.sha256}",)
    found = [] if repository.is_published(fetched) else ["the repository has another file by now"]
    # A jar under another name than the library's, as lz4-java for lz4, has its own override.
    loader = catalog.get(coordinate.artifact, override)
    asks = loader.asks(target.name, "glibc", coordinate.version)
    held = libraries(coordinate, target, repository)
    if not held:
        found.append(f"it holds no library for {target.name}")
    elif asks and not set(asks) & set(held):
        found.append(f"its loader asks for {asks[0]}, and it holds {held[0]}")
    told = licence_of(coordinate, repository)
    if told and told != remedy.licence:
        found.append(f"its pom tells the licence {told}, and the override {remedy.licence}")
    return tuple(found)
