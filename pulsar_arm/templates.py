"""Fill in the Dockerfiles of the folder dockerfiles/."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from pulsar_arm.catalog import folder
from pulsar_arm.errors import CatalogError


def render_dockerfile(place: str, **words: Any) -> str:
    """The text of `dockerfiles/PLACE.Dockerfile.j2`; CatalogError when it is wrong or a word is missing."""
    templates = Environment(
        loader=FileSystemLoader(folder("dockerfiles")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - a Dockerfile is no HTML
    )
    templates.filters["quoted"] = _quoted
    try:
        return templates.get_template(f"{place}.Dockerfile.j2").render(words)
    except TemplateError as error:
        raise CatalogError(f"dockerfiles/{place}.Dockerfile.j2 cannot be rendered: {error}.") from error


def _quoted(value: str) -> str:
    """A Dockerfile's word in double quotes: backslash, quote and dollar lose their meaning."""
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'
