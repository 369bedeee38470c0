"""Speak to web servers: patient with networks, clear about refusals."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from pulsar_arm import __version__
from pulsar_arm.errors import HostError
from pulsar_arm.host.progress import Progress

_CHUNK = 256 * 1024
_LONGEST_PAUSE = 60.0
_SMALL = 64 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear a bad network; times are in seconds."""

    attempts: int = 5
    """Failures in a row, none of which brought a byte further, before giving up."""
    pause: float = 1.0
    """Wait before the second attempt; each later wait is twice as long."""
    connect: float = 15.0
    read: float = 60.0
    """Longest silence of a server that has been reached."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the user can do about a failure: the words that end its sentence."""

    network: str = "check the network and the proxy, or name another repository with --maven-url"
    damage: str = "run again, or name another repository with --maven-url"
    trust: str = "name your network's certificates in REQUESTS_CA_BUNDLE"
    address: str = "check the repository's URL"


class NotThereError(HostError):
    """The server says that there is nothing at this URL (404, 410)."""


class PassingError(Exception):
    """A failure that another attempt may not meet; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class NoTLSError(PassingError):
    """What answers does not speak TLS, or not well."""


class Client:
    """Speaks to one web server, with its credentials, through the proxy that the network wants.

    Connection failures, cuts, 5xx and 429 are tried again with growing pauses, other refusals are not.
    Every failure is a HostError. Threads may share a client. TLS is verified; requests' environment variables
    (REQUESTS_CA_BUNDLE, HTTPS_PROXY, NO_PROXY ...) hold.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        auth: tuple[str, str] | None = None,
        proxy_for: Callable[[str], str | None] | None = None,
        patience: Patience | None = None,
        advice: Advice | None = None,
    ) -> None:
        """Keep how to speak; nothing is sent yet.

        `auth` is user and password, never sent to another host. `proxy_for` gives the proxy of a URL (None:
        go there directly) and replaces the environment's proxies.
        """
        self._progress = progress
        self._auth = auth
        self._proxy_for = proxy_for
        self._patience = patience or Patience()
        self.advice = advice or Advice()
        self.stopped = threading.Event()
        """Set it, and no thread waits for another attempt any more."""
        self._threads = threading.local()

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """A response whose body is still to be read, its status 200, 206 or 416; the caller closes it."""
        return self.patiently(url, lambda: self.send("GET", url, headers))

    def read(self, url: str) -> bytes:
        """A small file: at most its first 64 KiB."""

        def attempt() -> bytes:
            with self.send("GET", url) as response:
                body = b""
                for chunk in self.body(response):
                    body += chunk
                    if len(body) >= _SMALL:
                        break
                return body[:_SMALL]

        return self.patiently(url, attempt)

    def exists(self, url: str) -> bool:
        """Whether the server has something at `url`, asked by HEAD."""
        try:
            self.patiently(url, lambda: self.send("HEAD", url)).close()
        except NotThereError:
            return False
        return True

    def patiently(
        self,
        url: str,
        attempt: Callable[[], _T],
        position: Callable[[], int] = lambda: 0,
        *,
        done: str = "read",
    ) -> _T:
        """Repeat `attempt` while it fails in passing; bringing `position` further starts the count anew.

        `done` is what a last failure says could not be done to `url`.
        """
        failures, best = 0, position()
        while True:
            try:
                return attempt()
            except PassingError as failure:
                if position() > best:
                    failures, best = 0, position()
                failures += 1
                if failures >= self._patience.attempts:
                    raise HostError(
                        f"{shown(url)} could not be {done}: {failure}, {failures} times in a row; "
                        f"{self.advice.network}."
                    ) from failure
                pause = max(failure.wait, self._patience.pause * 2 ** (failures - 1))
                pause = min(pause, _LONGEST_PAUSE)
                self._progress.note(f"{shown(url)}: {failure}; trying again in {pause:.0f} s.")
                if self.stopped.wait(pause):
                    raise HostError(f"{shown(url)} could not be {done}: {failure}; run again.") from failure

    def send(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """One attempt. NotThereError, HostError, or PassingError where another attempt may help."""
        response = self.ask(method, url, headers)
        if response.status_code in (200, 206, 416):
            return response
        response.close()
        raise _refusal(url, response)

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Iterable[bytes] | bytes | None = None,
        auth: AuthBase | None = None,
        verify: bool | str = True,
        redirects: bool = True,
    ) -> requests.Response:
        """One attempt, and the answer whatever its status; HostError or PassingError when there is none.

        `verify` may name a file with the certificates to trust; False trusts any.
        """
        try:
            return self._session().request(
                method,
                url,
                headers=dict(headers or {}),
                data=body,
                auth=auth,
                verify=verify,
                timeout=(self._patience.connect, self._patience.read),
                stream=True,
                allow_redirects=redirects,
            )
        except requests.RequestException as error:
            raise self._judge(url, error) from error

    def _judge(self, url: str, error: requests.RequestException) -> Exception:
        """A failure before any status: most pass, a distrusted certificate or a wrong URL does not."""
        causes = tuple(_causes(error))
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return HostError(f"{shown(url)} is not trusted: {_reason(error)}; {self.advice.trust}.")
        if isinstance(error, ValueError | requests.TooManyRedirects):
            return HostError(f"{shown(url)} cannot be asked for: {_reason(error)}; {self.advice.address}.")
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return NoTLSError(_reason(error))
        return PassingError(_reason(error))

    @staticmethod
    def body(response: requests.Response) -> Iterator[bytes]:
        """The body as it was sent: a server that calls a .gz file an encoding gets nothing unpacked.

        PassingError when the connection is cut, as far as the server's headers let that be known.
        """
        try:
            yield from response.raw.stream(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise PassingError(f"the connection was cut ({_reason(error)})") from error

    def _session(self) -> requests.Session:
        """The session of this thread: requests does not promise that threads may share one."""
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = requests.Session()
            # "identity": a .tar.gz must arrive as it is stored, not unpacked on the way.
            session.headers.update({"User-Agent": f"pulsar-arm/{__version__}", "Accept-Encoding": "identity"})
            if self._auth:
                user, password = self._auth
                session.auth = HTTPBasicAuth(user.encode(), password.encode())
            if self._proxy_for:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, _Route(self._proxy_for))
            self._threads.session = session
        return session


class _Route(HTTPAdapter):
    """Chooses the proxy for each request, also for those a redirect leads to."""

    def __init__(self, proxy_for: Callable[[str], str | None]) -> None:
        super().__init__()
        self._proxy_for = proxy_for

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):  # type: ignore[no-untyped-def]
        """Send with our choice in place of `proxies`."""
        proxy = self._proxy_for(request.url)
        chosen = {urlsplit(request.url).scheme: proxy} if proxy else {}
        return super().send(request, stream, timeout, verify, cert, chosen)


def _refusal(url: str, response: requests.Response) -> Exception:
    """What a status other than the good ones means to us."""
    status, words = response.status_code, f"{response.status_code} {response.reason or ''}".rstrip()
    if status in (404, 410):
        return NotThereError(f"{shown(url)} does not exist ({words}).")
    if status == requests.codes.too_many_requests or status >= requests.codes.server_error:
        wait = response.headers.get("Retry-After", "")
        return PassingError(f"the server answers {words}", float(wait) if wait.isdecimal() else 0.0)
    if status in (401, 403):
        advice = "give this server's username and password in ~/.m2/settings.xml, or check its URL"
    elif status == requests.codes.proxy_authentication_required:
        advice = "give the proxy's username and password in ~/.m2/settings.xml or HTTPS_PROXY"
    else:
        advice = "check the repository's URL"
    return HostError(f"{shown(url)} is refused ({words}): {advice}.")


def _reason(error: BaseException) -> str:
    """The innermost words, without the layers and the URLs around them."""
    words = "no connection"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, urllib3.exceptions.NewConnectionError):
            continue  # urllib3 counts it among the time-outs, its cause knows better
        if isinstance(cause, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
            return "no answer in time"
        if isinstance(cause, urllib3.exceptions.IncompleteRead):
            words = "the body ended early"
        elif isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            words = cause.strerror or str(cause) or words
        elif isinstance(cause, ValueError):
            words = str(cause)
    return words


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        reason = getattr(error, "reason", None)  # how urllib3 keeps what was behind its MaxRetryError
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__


def shown(url: str) -> str:
    """The URL without what is secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
