"""Read Maven's own settings: which mirror, which proxy and whose credentials the user's network wants.

Source: Maven's settings reference and its guide to mirror settings; where these are silent, the choice
that Maven's mirror and proxy selectors make.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from lxml import etree

from pulsar_arm.errors import HostError, InputError, UsageError

_CENTRAL = "central"
"""The id by which Maven knows its default repository."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_VARIABLE = re.compile(r"\$\{(env\.[^}]+|user\.home)\}")
_ENCRYPTED = re.compile(r"(?:^|[^\\])\{.*[^\\]\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository to ask, and as whom."""

    url: str
    """Without credentials and without a slash at its end."""
    auth: tuple[str, str] | None = field(repr=False)
    """User and password."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A `<mirror>`: where to ask instead of the repositories that `mirror_of` describes."""

    name: str
    """Its id, under which the `<server>` with its credentials stands too."""
    url: str
    mirror_of: str
    blocked: bool


@dataclass(frozen=True, slots=True)
class Proxy:
    """An active `<proxy>`."""

    protocol: str
    """Of the repositories it serves: `http` serves https as well where there is no other."""
    host: str
    port: str
    credentials: tuple[str, str] | None = field(repr=False)
    direct: tuple[str, ...]
    """Patterns of hosts that it does not serve (nonProxyHosts)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a settings.xml says about the network; an empty one says nothing."""

    path: Path
    mirrors: tuple[Mirror, ...] = ()
    servers: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    """User and password by the id of a repository or mirror."""
    proxies: tuple[Proxy, ...] = ()

    def remote(self, url: str | None, central: str) -> Remote:
        """The repository to ask: `url` if given, else the mirror of Maven's default one, else `central`.

        Credentials come from `url` itself or from the server entry of its mirror or of `central`. HostError
        when a value that is needed is encrypted or names an environment variable that is not set, and when
        the mirror is blocked; UsageError or InputError when it is no http(s) URL.
        """
        if url is None:
            mirror = self._mirror(central)
            if mirror and mirror.blocked:
                raise HostError(f"{self.path} blocks Maven's default repository: name one with --maven-url.")
            if mirror is None:
                return self._remote(central, _CENTRAL)
            return self._remote(self._plain(mirror.url), mirror.name)
        same = (mirror.name for mirror in self.mirrors if mirror.url.rstrip("/") == url.rstrip("/"))
        name = next(same, _CENTRAL if url.rstrip("/") == central.rstrip("/") else "")
        return self._remote(url, name, explicit=True)

    def proxy_for(self, url: str) -> str | None:
        """The URL of the proxy for a request to `url`, with its credentials; None where none serves it."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        serving = {
            proxy.protocol: proxy
            for proxy in reversed(self.proxies)
            if not any(fnmatchcase(host, pattern.lower()) for pattern in proxy.direct)
        }
        proxy = serving.get(parts.scheme) or serving.get("http")
        if proxy is None:
            return None
        who = ":".join(quote(self._secret(part), safe="") for part in proxy.credentials or ())
        port = f":{proxy.port}" if proxy.port else ""
        return f"http://{who}{'@' if who else ''}{self._plain(proxy.host)}{port}"

    def _mirror(self, central: str) -> Mirror | None:
        """Maven's choice: a mirror of just this repository goes before patterns, then the first that fits."""
        exact = (mirror for mirror in self.mirrors if mirror.mirror_of == _CENTRAL)
        fitting = (mirror for mirror in self.mirrors if _fits(mirror.mirror_of, central))
        return next(exact, None) or next(fitting, None)

    def _remote(self, url: str, name: str, *, explicit: bool = False) -> Remote:
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            words = "The URL of the Maven repository is not one of http or https"
            if explicit:
                raise UsageError(f"{words}: check --maven-url.")
            raise InputError(f"{words}: check mirror {name} in {self.path}.")
        auth = self.servers.get(name)
        if auth:
            auth = self._plain(auth[0]), self._secret(auth[1])
        if parts.username:
            auth = unquote(parts.username), unquote(parts.password or "")
        place = parts.netloc.rpartition("@")[2]
        return Remote(urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", "")), auth)

    def _plain(self, text: str) -> str:
        """A value whose variables were all known."""
        unknown = _VARIABLE.search(text)
        if unknown:
            variable = unknown[1].removeprefix("env.")
            raise HostError(
                f"{self.path} needs the environment variable {variable}, which is not set: export it."
            )
        return text

    def _secret(self, text: str) -> str:
        """A password as it is sent; braces that belong to it are written with a backslash before them."""
        text = self._plain(text)
        if _ENCRYPTED.search(text):
            raise HostError(
                f"{self.path} holds a password that Maven has encrypted, which only Maven can read: "
                "write ${env.NAME} in its place and export NAME, or give --maven-url with user and password."
            )
        return text.replace("\\{", "{").replace("\\}", "}")


def read_settings(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings at `path`, empty where there is no such file; InputError names the line that is broken.

    `${env.NAME}` and `${user.home}` are filled in. Entities and DTDs are not followed, nothing is fetched.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Settings(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; mend or move it.") from error
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        reason = (error.msg or "it is empty").partition(", line ")[0]
        raise InputError(f"{path}, line {error.lineno or 1}, is broken XML: {reason}; mend it.") from error
    for entity in root.iter(etree.Entity):
        raise InputError(
            f"{path}, line {entity.sourceline}: {entity.text} is not followed; write its text there."
        )
    if etree.QName(root).localname != "settings":
        raise InputError(
            f"{path} is not Maven's settings: its root is {etree.QName(root).localname}; mend or move it."
        )
    return _read(path, root, environment)


def _read(path: Path, root: etree._Element, environment: Mapping[str, str]) -> Settings:
    def text(element: etree._Element, name: str, default: str = "") -> str:
        found = next(_children(element, name), None)
        value = (found.text or "").strip() if found is not None else ""
        return _VARIABLE.sub(lambda match: _value(match, environment), value or default)

    def login(element: etree._Element) -> tuple[str, str] | None:
        user = text(element, "username")
        return (user, text(element, "password")) if user else None

    def rows(group: str, name: str) -> Iterator[etree._Element]:
        return (row for table in _children(root, group) for row in _children(table, name))

    return Settings(
        path,
        tuple(
            Mirror(text(row, "id"), text(row, "url"), text(row, "mirrorOf"), text(row, "blocked") == "true")
            for row in rows("mirrors", "mirror")
        ),
        {text(row, "id"): who for row in rows("servers", "server") if (who := login(row))},
        tuple(
            Proxy(
                text(row, "protocol", "http").lower(),
                text(row, "host"),
                text(row, "port", "8080"),
                login(row),
                tuple(part.strip() for part in re.split(r"[|,]", text(row, "nonProxyHosts")) if part.strip()),
            )
            for row in rows("proxies", "proxy")
            if text(row, "active", "true") == "true" and text(row, "host")
        ),
    )


def _children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Direct children by local name: the namespace changed with Maven's versions, and many leave it out."""
    return (child for child in element if etree.QName(child).localname == name)


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    """The value of one variable; an unknown one stays as it stands, and is refused where it is needed."""
    if match[1] == "user.home":
        return str(Path.home())
    return environment.get(match[1].removeprefix("env."), match[0])


def _fits(pattern: str, central: str) -> bool:
    """Whether a mirrorOf such as `*,!central` or `external:*` takes in Maven's default repository."""
    parts = urlsplit(central)
    external = (parts.hostname or "") not in _LOCAL_HOSTS and parts.scheme != "file"
    wanted = {"*", _CENTRAL}
    if external:
        wanted.add("external:*")
        if parts.scheme == "http":
            wanted.add("external:http:*")
    words = [word.strip() for word in pattern.split(",")]
    return f"!{_CENTRAL}" not in words and any(word in wanted for word in words)
