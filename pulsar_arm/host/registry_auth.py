"""Answer a registry's demand for a login: Basic, or a bearer token that its token server gives.

Source: RFC 7617 and 9110 (WWW-Authenticate), distribution's "Token Authentication Specification" and its
OAuth2 addition, by which an identity token is redeemed.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from requests import PreparedRequest
from requests.auth import AuthBase

_PARAMETER = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)\b\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 asks for."""

    scheme: str
    """`basic` or `bearer`."""
    realm: str
    """For `bearer`, the URL of the token server."""
    service: str
    scopes: tuple[str, ...]
    """What is wanted to be allowed: `repository:pulsar:pull,push`."""


class Header(AuthBase):
    """Sets Authorization, or with an empty value keeps requests from taking one from ~/.netrc."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Set the header; requests drops it when a redirect leads to another host."""
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def read_challenge(header: str) -> Challenge | None:
    """The demand in a WWW-Authenticate header, None where it is of a kind that docker knows neither.

    Bearer goes before Basic when a registry offers both.
    """
    found: dict[str, Challenge] = {}
    pieces = _SCHEME.split(header)
    for scheme, text in zip(pieces[1::2], pieces[2::2], strict=True):
        values = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(text)
        }
        kind = scheme.lower()
        scopes = tuple(values.get("scope", "").split())
        found[kind] = Challenge(kind, values.get("realm", ""), values.get("service", ""), scopes)
    return found.get("bearer") or found.get("basic")


def basic(user: str, password: str) -> str:
    """The value of Authorization for a user, in UTF-8 as docker sends it."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
