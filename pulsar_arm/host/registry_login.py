"""Find who the user is at a registry: `docker login` keeps it in its config.json or a credential helper.

Source: the docker command line's reference (`docker login`, "Credential stores") and the protocol of
docker-credential-helpers: `docker-credential-NAME get` reads the registry on stdin and prints JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.reference import HUB
from pulsar_arm.host.process import run

_HUB_KEY = "https://index.docker.io/v1/"
"""The name of Docker Hub in config.json and to helpers, kept from the first registry protocol."""
_TOKEN_USER = "<token>"  # noqa: S105 - a user name that says "the secret is an identity token"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Login:
    """Who to be at a registry."""

    user: str
    """Empty with an identity token."""
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth refresh token, given to the token server in place of a password."""
    origin: str = ""
    """Where it was found, for messages."""


def config_path() -> Path:
    """Docker's config.json, in DOCKER_CONFIG or `~/.docker`."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def find_login(host: str, path: Path) -> Login | None:
    """The login kept for the registry `host` (`ghcr.io`, `localhost:5000`), None to be anonymous there.

    A helper named for the host (credHelpers) goes before the one for all (credsStore), and both before what
    stands in the file. InputError when the file is broken, HostError when a helper is missing or fails.
    """
    config = _read(path)
    helper = _table(config, "credHelpers", path).get(host) or config.get("credsStore")
    if helper:
        login = _ask_helper(str(helper), _HUB_KEY if host == HUB else host)
        if login:
            return login
    for key, entry in _table(config, "auths", path).items():
        if _host(key) == host and isinstance(entry, dict):
            return _login(entry, key, path)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; mend or move it.") from error
    except ValueError as error:
        raise InputError(f"{path} is broken JSON: {error}; mend it, or log in with docker anew.") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{path} is not docker's: it holds no JSON object; mend it, or log in anew.")
    return parsed


def _table(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    table = config.get(key) or {}
    if not isinstance(table, dict):
        raise InputError(f"{path}: {key!r} is no table by registry: mend it, or log in with docker anew.")
    return table


def _host(key: str) -> str:
    """The registry of a key, which may be an old URL: `https://ghcr.io/v2/` is ghcr.io."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in (f"index.{HUB}", f"registry-1.{HUB}") else host


def _login(entry: dict[str, Any], key: str, path: Path) -> Login | None:
    token = str(entry.get("identitytoken") or "")
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if encoded := entry.get("auth"):
        try:
            decoded = base64.b64decode(str(encoded), validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError) as error:
            broken = f"{path}: the login of {key} is not base64 of USER:PASSWORD"
            raise InputError(f"{broken}: log in there with docker anew.") from error
        user, _colon, password = decoded.partition(":")
    if not (user or token):
        return None
    return Login("" if token else user, "" if token else password, token, str(path))


def _ask_helper(name: str, server: str) -> Login | None:
    program = f"docker-credential-{name}"
    done = run([program, "get"], stdin=server.encode(), timeout=_PATIENCE, ok=None)
    if done.returncode:
        said = (done.stdout or done.stderr).decode(errors="replace").strip()
        if "not found" in said or not said:
            return None  # how helpers say that they keep nothing for this server
        reason = said.splitlines()[0].rstrip(".")
        raise HostError(f"{program} gives no login for {server}: {reason}; mend it.")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"{program} answers something else than JSON: update it, or remove it from config.json."
        ) from error
    if user == _TOKEN_USER:
        return Login("", "", secret, program)
    return Login(user, secret, "", program) if user else None
