"""Speak the OCI distribution protocol to one registry: TLS, login, refusals in the user's words.

A client of our own on requests, after judging what there is. oras-py 0.2 sends whole files only (our blobs
lie inside archives), holds each in memory, never mounts, keeps one token whatever it is for, and tries a
wrong password five times. skopeo, crane and regctl do all that is needed, but are programs that every CI
machine would have to install, and none of them tells what was sent. What is left is small: five requests.

Plain http is spoken only to a host that the user calls insecure, whose certificate is not checked either, and
to this machine itself (localhost, 127.0.0.0/8, ::1) when TLS is not spoken there. A certificate that is there
is checked, also on this machine. Certificates are trusted as requests has it (REQUESTS_CA_BUNDLE) or, as the
engine has it, by `/etc/docker/certs.d/HOST[:PORT]/ca.crt`.
"""

from __future__ import annotations

import ipaddress
import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

from pulsar_arm.errors import HostError
from pulsar_arm.formats.reference import HUB
from pulsar_arm.host.progress import Progress
from pulsar_arm.host.registry_auth import Challenge, Header, basic, read_challenge
from pulsar_arm.host.registry_login import Login, config_path, find_login
from pulsar_arm.host.web import Advice, Client, NoTLSError, NotThereError, PassingError, Patience, shown

_READ = 180.0
"""Seconds: a registry may take minutes to move a layer to its storage before it answers."""
_GOOD = (200, 206, 416)
_REDIRECTED = (307, 308)
_LARGEST = 4 << 20
"""Bytes of a manifest or an answer, as distribution limits them."""
_CLIENT = "pulsar-arm"
_NO_WORDS = "it gives no reason"


@dataclass(frozen=True, slots=True)
class Access:
    """How the user wants registries to be reached."""

    mirrors: Mapping[str, str] = field(default_factory=dict)
    """By registry, the `HOST[:PORT][/PREFIX]` that is asked before it when an image is pulled."""
    insecure: frozenset[str] = frozenset()
    """Registries that may speak plain http or show any certificate."""
    config: Path = field(default_factory=config_path)
    """Docker's config.json."""
    certificates: Path = Path("/etc/docker/certs.d")
    patience: Patience = field(default_factory=lambda: Patience(read=_READ))


class Registry(Client):
    """One registry, as the user that docker's config.json tells; threads may share it."""

    def __init__(self, host: str, access: Access, progress: Progress) -> None:
        """Keep how to speak; nothing is sent yet."""
        advice = Advice(
            network="check that the registry runs and has room, and the network",
            damage="run again, or push the image anew",
            trust=f"name the certificate behind it in REQUESTS_CA_BUNDLE or put it into "
            f"{access.certificates / host}/ca.crt, or give --insecure-registry {host}",
            address="check the name of the image",
        )
        super().__init__(progress, proxy_for=_proxy, patience=access.patience, advice=advice)
        self.host = host
        self._access = access
        self._netloc = f"registry-1.{HUB}" if host == HUB else host
        self._insecure = host in access.insecure
        self._verify: bool | str = not self._insecure and (_trusted(access.certificates / host) or True)
        if self._insecure:  # the user said so; a warning for each request would tell nothing new
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._base = ""
        self._scopes: set[str] = set()
        self._login: Login | None = None
        self._header = ""
        self._lock = threading.RLock()

    def allow(self, repository: str, actions: str) -> None:
        """Ask for `actions` (`pull`, `pull,push`) in `repository` when a token is got next."""
        with self._lock:
            scope = f"repository:{repository}:{actions}"
            if scope not in self._scopes:
                self._scopes.add(scope)
                if self._header.startswith("Bearer"):
                    self._header = ""

    def reach(self) -> None:
        """Find out whether a registry answers, and takes our login; HostError when not."""
        with self._lock:
            if not self._base and not self._answers("https"):
                self._answers("http")

    def url(self, path: str, base: str = "") -> str:
        """The address of `path` below /v2/, or what a Location header means that came for `base`."""
        self.reach()
        url = urljoin(base or f"{self._base}/v2/", path)
        parts = urlsplit(url)
        # A registry behind a proxy that ends TLS often believes that it is reached by http.
        return f"{self._base}{url.partition(parts.netloc)[2]}" if parts.netloc == self._netloc else url

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Callable[[], Iterable[bytes] | bytes] | None = None,
        good: Collection[int] = _GOOD,
    ) -> requests.Response:
        """One attempt, with our login where it is asked for; `body` is called for each sending of it."""
        for last in (False, True):
            ours = urlsplit(url).netloc == self._netloc
            used = self._header if ours else ""
            response = self.ask(
                method,
                url,
                headers,
                body=body() if body else None,
                auth=Header(used),
                verify=self._verify,
                redirects=body is None,
            )
            if response.status_code in good:
                return response
            again = False
            if not last:
                if body and response.status_code in _REDIRECTED and response.headers.get("Location"):
                    url, again = urljoin(url, response.headers["Location"]), True
                elif response.status_code == requests.codes.unauthorized and ours:
                    again = self._log_in(response, used)
            if not again:
                with response:
                    raise self._refusal(url, response)
            response.close()
        raise AssertionError  # the last round returns or raises

    def read_small(self, response: requests.Response) -> bytes:
        """The body of an answer that is no blob: a manifest, a token, an error. HostError past 4 MiB."""
        content = b""
        for piece in self.body(response):
            content += piece
            if len(content) > _LARGEST:
                raise HostError(f"{shown(response.url)} is too large: {self.advice.address}.")
        return content

    def _answers(self, scheme: str) -> bool:
        """Whether `scheme` is spoken there; HostError when that may not or cannot be."""
        base = f"{scheme}://{self._netloc}"

        def attempt() -> bool:
            try:
                self.send("GET", f"{base}/v2/").close()
            except NoTLSError as error:
                if self._insecure or _on_this_machine(self._netloc):
                    return False
                raise HostError(
                    f"{self.host} does not speak TLS ({error}): check the name, or give "
                    f"--insecure-registry {self.host} if it is meant to speak plain http."
                ) from error
            except NotThereError as error:
                raise HostError(f"{self.host} is no registry: {base}/v2/ does not exist there.") from error
            return True

        if self.patiently(base, attempt, done="reached"):
            self._base = base
        return bool(self._base)

    def _log_in(self, response: requests.Response, used: str) -> bool:
        """Whether there is now something else to send than `used`."""
        with self._lock:
            if self._header != used:
                return True
            challenge = read_challenge(response.headers.get("WWW-Authenticate", ""))
            if challenge is None:
                raise HostError(
                    f"{self.host} wants a login that is neither Basic nor a token: ask its keeper."
                )
            self._login = self._login or find_login(self.host, self._access.config)
            if challenge.scheme == "bearer":
                self._header = f"Bearer {self._token(challenge)}"
            elif self._login and not self._login.identity_token:
                self._header = basic(self._login.user, self._login.password)
            return self._header != used

    def _token(self, challenge: Challenge) -> str:
        parts = urlsplit(challenge.realm)
        if parts.scheme != "https" and not (self._insecure or _on_this_machine(parts.netloc)):
            raise HostError(
                f"{self.host} wants passwords sent to {shown(challenge.realm) or 'nowhere'}, not to https: "
                f"tell its keeper, or give --insecure-registry {self.host}."
            )
        login, scopes = self._login, sorted(self._scopes | set(challenge.scopes))
        fields = [("service", challenge.service), ("client_id", _CLIENT)]
        headers, body, authorisation = {}, None, ""
        if login and login.identity_token:
            fields += [("grant_type", "refresh_token"), ("refresh_token", login.identity_token)]
            body = urlencode([*fields, ("scope", " ".join(scopes))]).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            url = challenge.realm
        else:
            authorisation = basic(login.user, login.password) if login else ""
            query = urlencode([*fields, *(("scope", scope) for scope in scopes)])
            url = f"{challenge.realm}{'&' if parts.query else '?'}{query}"
        method = "POST" if body else "GET"
        with self.ask(
            method, url, headers, body=body, auth=Header(authorisation), verify=self._verify
        ) as response:
            if response.status_code in (401, 403):
                raise HostError(self._not_allowed(self.host))
            if response.status_code != requests.codes.ok:
                raise self._refusal(url, response)
            try:
                answer = json.loads(self.read_small(response))
                return str(answer.get("token") or answer["access_token"])
            except (ValueError, KeyError, AttributeError) as error:
                raise HostError(f"{shown(challenge.realm)} gives no token: try again.") from error

    def _refusal(self, url: str, response: requests.Response) -> Exception:
        """What a status other than the good ones means."""
        status = f"{response.status_code} {response.reason or ''}".rstrip()
        subject = self._subject(url)
        codes, words = _told(self.read_small(response))
        if response.status_code in (401, 403) or "DENIED" in codes:
            return HostError(self._not_allowed(subject))
        if response.status_code in (404, 410):
            lacks = "no such repository" if "NAME_UNKNOWN" in codes else "no such image"
            return NotThereError(f"{subject} does not exist ({lacks}, {status}): check its name and tag.")
        if response.status_code == requests.codes.too_many_requests or response.status_code >= 500:
            wait = response.headers.get("Retry-After", "")
            said = f" ({words})" if words else ""
            return PassingError(
                f"the registry answers {status}{said}", float(wait) if wait.isdecimal() else 0.0
            )
        return HostError(f"{subject} is refused ({status}: {words or _NO_WORDS}): {self.advice.address}.")

    def _not_allowed(self, subject: str) -> str:
        if self._login is None:
            lacks = f"{subject} wants a login, and {self._access.config} has none for it"
            return f"{lacks}: run docker login {self.host}."
        who = self._login.user or "the kept token"
        return (
            f"{subject} refuses {who}, the login in {self._login.origin}: it is wrong, or may not do "
            f"that; run docker login {self.host}, or ask for the right."
        )

    def _subject(self, url: str) -> str:
        """Host and repository of an address, all that people know of it."""
        path = urlsplit(url).path.partition("/v2/")[2]
        for mark in ("/manifests/", "/blobs/"):
            repository, found, point = path.partition(mark)
            if found:
                tag = f":{point}" if found == "/manifests/" and not point.startswith("sha256:") else ""
                return f"{self.host}/{repository}{tag}"
        return self.host


def _told(content: bytes) -> tuple[set[str], str]:
    """The codes and the first words of a registry's errors (distribution-spec, "Error Codes")."""
    try:
        errors = [one for one in json.loads(content)["errors"] if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError):
        return set(), ""
    codes = {str(one.get("code")) for one in errors}
    first = errors[0] if errors else {}
    detail = first.get("detail")
    inner = detail.get("Err", detail) if isinstance(detail, dict) else detail
    said = [str(first.get("message") or first.get("code") or ""), str(inner) if inner else ""]
    return codes, ": ".join(" ".join(one.split()).rstrip(".") for one in said if one)


def _trusted(folder: Path) -> str:
    """The file with the certificates that the engine would trust for a registry, or empty."""
    return next((str(path) for path in sorted(folder.glob("*.crt"))), "")


def _on_this_machine(netloc: str) -> bool:
    host = urlsplit(f"//{netloc}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy(url: str) -> str | None:
    """The environment's proxy, but none for this machine, as docker has it."""
    if _on_this_machine(urlsplit(url).netloc):
        return None
    return requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
