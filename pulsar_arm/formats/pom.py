"""Read the XML that Maven publishes beside artifacts: poms, and the lists of versions."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from pulsar_arm.errors import InputError


@dataclass(frozen=True, slots=True)
class Pom:
    """What one pom says itself; the rest it has from its parents."""

    name: str
    """For people; empty when it has none."""
    licences: tuple[str, ...]
    """Their names as the authors wrote them; of several the user may choose one."""
    parent: tuple[str, str, str] | None
    """Group, artifact and version of the pom it inherits from."""


def read_pom(content: bytes, where: str) -> Pom:
    """Read a pom; InputError, naming `where`, when it is none."""
    root = _root(content, where, "project")
    parent = root.find("{*}parent")
    return Pom(
        name=_text(root, "name"),
        licences=tuple(_text(row, "name") for row in root.iterfind("{*}licenses/{*}license")),
        parent=None if parent is None else _named(parent),
    )


def read_versions(content: bytes, where: str) -> tuple[str, ...]:
    """The versions of a `maven-metadata.xml` as they stand there; InputError when it is none."""
    root = _root(content, where, "metadata")
    return tuple((row.text or "").strip() for row in root.iterfind("{*}versioning/{*}versions/{*}version"))


def _named(element: etree._Element) -> tuple[str, str, str]:
    return _text(element, "groupId"), _text(element, "artifactId"), _text(element, "version")


def _text(element: etree._Element, name: str) -> str:
    """A direct child's text; many files leave Maven's namespace out."""
    return (element.findtext(f"{{*}}{name}") or "").strip()


def _root(content: bytes, where: str, name: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise InputError(f"{where} is broken XML: {error.msg}; name another repository.") from error
    if etree.QName(root).localname != name:
        raise InputError(
            f"{where} is not what Maven publishes there: its root is {etree.QName(root).localname}, "
            f"not {name}; check the repository's URL."
        )
    return root
