"""Read what a cluster is deployed with, ours or others': files become servers with what they are told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pulsar_arm.errors import InputError
from pulsar_arm.formats.properties import read_properties

_LARGEST = 4 << 20
_STARTED = re.compile(
    r"bin/(?:pulsar|bookkeeper|pulsar-daemon start) (zookeeper|bookie|broker|proxy|autorecovery)\b"
)
_NAMED = (
    ("initialize", ("init",)),
    ("autorecovery", ("recovery",)),
    ("zookeeper", ("zookeeper", "zk")),
    ("bookie", ("bookie", "bookkeeper", "bk")),
    ("proxy", ("proxy",)),
    ("broker", ("broker",)),
    ("etcd", ("etcd",)),
)
_CONF = {
    "zookeeper.conf": "zookeeper",
    "bookkeeper.conf": "bookie",
    "broker.conf": "broker",
    "proxy.conf": "proxy",
}
_COMPONENTS = {
    "zookeeper": "zookeeper",
    "bookkeeper": "bookie",
    "autorecovery": "autorecovery",
    "broker": "broker",
    "proxy": "proxy",
}
_PREFIX = "PULSAR_PREFIX_"


@dataclass(frozen=True, slots=True)
class Told:
    """A server as one file describes it."""

    file: Path
    place: tuple[str | int, ...]
    """Where in the file: keys and numbers from its top; empty for a configuration file."""
    role: str
    """`zookeeper`, `bookie`, `broker`, `autorecovery`, `proxy`, `etcd`, `initialize`, or empty."""
    name: str
    image: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Configuration keys (without their prefix) and variables."""
    keys: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    """Where each setting stands in the file."""
    command: str = ""
    health: str = ""
    published: tuple[str, ...] = ()
    """Ports of the host."""
    reaps: bool = False
    """Whether its first process is an init."""
    kind: str = ""
    """`compose`, `kubernetes`, `helm`, `conf`."""
    body: Any = None
    """What the file says of it."""
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Deployment:
    """All files that were looked at, together."""

    servers: tuple[Told, ...]
    values: tuple[tuple[Path, Any], ...]
    """Values of a Helm chart, whole."""
    files: tuple[Path, ...]

    def of(self, role: str) -> tuple[Told, ...]:
        """The servers of a role."""
        return tuple(one for one in self.servers if one.role == role)


def read_deployment(top: Path) -> Deployment:
    """A file, or every YAML and conf file of a folder; InputError names file and line of what is damaged."""
    paths = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
    paths = [path for path in paths if path.suffix in (".yaml", ".yml") or path.name in _CONF or path == top]
    if not paths:
        raise InputError(f"{top} holds no YAML file and none of {', '.join(_CONF)}.")
    servers: list[Told] = []
    values: list[tuple[Path, Any]] = []
    for path in paths:
        if path.name in _CONF:
            servers.append(_conf(path))
            continue
        for number, document in enumerate(_documents(path)):
            found = list(_of_document(path, document, number))
            servers += found
            if found and found[0].kind == "helm":
                values.append((path, document))
    return Deployment(tuple(servers), tuple(values), tuple(paths))


def _documents(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is larger than {_LARGEST >> 20} MiB, which no deployment file is.")
        text = path.read_text(encoding="utf-8")
        return [one for one in YAML(typ="safe", pure=True).load_all(text) if one is not None]
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        said = " ".join(str(error.problem or "it cannot be parsed").split())
        raise InputError(f"{path}{line} is no YAML: {said}.") from error
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())[:200]}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _conf(path: Path) -> Told:
    try:
        settings = read_properties(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    keys = {key: (key,) for key in settings}
    return Told(path, (), _CONF[path.name], path.name, settings=settings, keys=keys, kind="conf")


def _of_document(path: Path, document: Any, number: int) -> Iterator[Told]:
    if not isinstance(document, dict):
        return
    if isinstance(document.get("services"), dict):
        for name, body in document["services"].items():
            if isinstance(body, dict):
                yield _compose(path, number, str(name), body)
    elif isinstance(document.get("kind"), str) and isinstance(document.get("spec"), dict):
        yield from _kubernetes(path, number, document)
    else:
        for component, role in _COMPONENTS.items():
            body = document.get(component)
            if isinstance(body, dict):
                yield _helm(path, number, component, role, body)


def _compose(path: Path, number: int, name: str, body: dict[str, Any]) -> Told:
    place = (number, "services", name)
    settings, keys = _environment(body.get("environment"), (*place, "environment"))
    command = _words(body.get("entrypoint")) + " " + _words(body.get("command"))
    image = str(body.get("image") or "")
    health = body.get("healthcheck")
    ports = body.get("ports") or []
    published = tuple(_published(one) for one in ports) if isinstance(ports, list) else ()
    deploy = body.get("deploy")
    return Told(
        file=path,
        place=place,
        role=_role(name, command),
        name=name,
        image=image,
        settings=settings,
        keys=keys,
        command=command,
        health=_words(health.get("test")) if isinstance(health, dict) else "",
        published=tuple(one for one in published if one),
        reaps=body.get("init") is True,
        kind="compose",
        body=body,
        replicas=_number(deploy.get("replicas", 1) if isinstance(deploy, dict) else 1),
    )


def _kubernetes(path: Path, number: int, document: dict[str, Any]) -> Iterator[Told]:
    pod: Any = document["spec"].get("template") or {}
    spec = pod.get("spec") if isinstance(pod, dict) else None
    if not isinstance(spec, dict):
        return
    base = (number, "spec", "template", "spec", "containers")
    for at, body in enumerate(spec.get("containers") or []):
        if isinstance(body, dict):
            place = (*base, at)
            settings, keys = _environment(body.get("env"), (*place, "env"))
            command = f"{_words(body.get('command'))} {_words(body.get('args'))}"
            name = str((document.get("metadata") or {}).get("name") or body.get("name") or "")
            image = str(body.get("image") or "")
            yield Told(
                file=path,
                place=place,
                role=_role(name, command),
                name=name,
                image=image,
                settings=settings,
                keys=keys,
                command=command,
                reaps=True,
                kind="kubernetes",
                body=spec,
                replicas=_number(document["spec"].get("replicas", 1)),
            )


def _helm(path: Path, number: int, component: str, role: str, body: dict[str, Any]) -> Told:
    settings, keys = _environment(body.get("configData"), (number, component, "configData"))
    return Told(
        file=path,
        place=(number, component),
        role=role,
        name=component,
        settings=settings,
        keys=keys,
        reaps=True,
        kind="helm",
        body=body,
        replicas=_number(body.get("replicaCount", 1)),
    )


def _environment(
    value: Any, place: Sequence[str | int]
) -> tuple[dict[str, str], dict[str, tuple[str | int, ...]]]:
    """The three ways to write it: a table, `NAME=VALUE` lines, and Kubernetes' rows of name and value."""
    rows: list[tuple[str, Any, tuple[str | int, ...]]] = []
    if isinstance(value, dict):
        rows = [(str(key), one, (*place, key)) for key, one in value.items()]
    elif isinstance(value, list):
        for number, one in enumerate(value):
            if isinstance(one, dict) and "name" in one:
                rows.append((str(one["name"]), one.get("value"), (*place, number, "value")))
            elif isinstance(one, str):
                name, _equals, text = one.partition("=")
                rows.append((name, text, (*place, number)))
    settings = {name.removeprefix(_PREFIX): _text(one) for name, one, _place in rows if one is not None}
    return settings, {name.removeprefix(_PREFIX): where for name, _one, where in rows}


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _published(port: Any) -> str:
    if isinstance(port, dict):
        return str(port.get("published") or "")
    parts = str(port).split("/")[0].split(":")
    return ":".join(parts[:-1]) if len(parts) > 1 else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 1


def _role(name: str, command: str) -> str:
    """By what it starts, else by its name."""
    if "initialize-cluster-metadata" in command:
        return "initialize"
    if started := _STARTED.search(command):
        return started[1]
    lowered = name.lower()
    return next((role for role, words in _NAMED if any(word in lowered for word in words)), "")
