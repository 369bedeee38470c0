"""One description of a cluster, `cluster.toml`, read strictly: every mistake is one sentence with its key.

What is rendered follows from it alone, whatever the cluster runs on.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from pulsar_arm.errors import CatalogError, InputError, UsageError
from pulsar_arm.platforms import Platform, platform
from pulsar_arm.releases import Release, release
from pulsar_arm.tables import Table, read_toml

Store = Literal["zookeeper", "etcd"]
Role = Literal["zookeeper", "etcd", "bookie", "broker", "autorecovery", "proxy"]
ROLES: tuple[Role, ...] = get_args(Role)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SIZE = re.compile(r"[1-9][0-9]*[mg]")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PORTS: Mapping[Role, Mapping[str, int]] = {
    "zookeeper": {"client": 2181, "peer": 2888, "election": 3888, "admin": 9990, "metrics": 8000},
    "etcd": {"client": 2379, "peer": 2380},
    "bookie": {"bookie": 3181, "metrics": 8100},
    "broker": {"broker": 6650, "web": 8080},
    "autorecovery": {"metrics": 8200},
    "proxy": {"broker": 6651, "web": 8081},
}
"""What a server listens on. The bookie's metrics are not on their default 8000, which ZooKeeper has too."""
_FOLDERS: Mapping[Role, tuple[str, ...]] = {
    "zookeeper": ("data", "log"),
    "etcd": ("data",),
    "bookie": ("journal", "ledgers"),
    "broker": (),
    "autorecovery": (),
    "proxy": (),
}
_FIRST_WITH_ETCD = (2, 10)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that runs servers."""

    name: str
    address: str
    """An IP address."""
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """What is said of all servers of one role."""

    role: Role
    replicas: int
    """How many there are where no hosts are named."""
    heap: str
    """Of the JVM, `512m` or `2g`."""
    direct: str
    """The JVM's direct memory."""
    ports: Mapping[str, int]
    folders: Mapping[str, str]
    """Where it keeps what must not be lost, by purpose."""
    configuration: Mapping[str, str]
    """Further keys of its configuration file."""
    image: str = ""
    """Of its containers, where it is not the cluster's; etcd has one of its own."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many bookies a ledger is spread over, writes an entry, and must have confirmed it."""

    ensemble: int
    write: int
    ack: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """A whole description."""

    name: str
    release: Release
    image: str
    """A reference with tag or digest; empty where nothing runs in containers."""
    platform: Platform
    store: Store
    quorum: Quorum
    hosts: tuple[Host, ...]
    services: Mapping[Role, Service]

    def hosts_of(self, role: Role) -> tuple[Host, ...]:
        """The machines that run a role, in their order."""
        return tuple(host for host in self.hosts if role in host.roles)

    def count(self, role: Role) -> int:
        """How many servers of a role there are."""
        if role not in self.services:
            return 0
        return len(self.hosts_of(role)) if self.hosts else self.services[role].replicas

    @property
    def generation(self) -> tuple[int, int]:
        """The first two numbers of the release."""
        first, second = self.release.version.split(".")[:2]
        return int(first), int(second)


def read_cluster(path: Path) -> Cluster:
    """A description, validated as a whole; InputError names the file and the key of a mistake."""
    try:
        cluster = _cluster(Table(path.name, read_toml(path)), path.name)
    except (CatalogError, UsageError) as error:
        raise InputError(str(error)) from error
    for mistake in _mistakes(cluster):
        raise InputError(f"{path.name}: {mistake}")
    return cluster


def _cluster(top: Table, where: str) -> Cluster:
    if top.number("schema") != 1:
        raise InputError(f"{where}: schema must be 1, the only one this version knows.")
    name = top.matching("name", _NAME)
    known = release(top.text("release"))
    image = _image(top, where)
    architecture = platform(top.text("architecture", "aarch64"))
    store = cast(Store, top.choice("metadata", get_args(Store)))
    quorum = _quorum(top.table("quorum"))
    hosts = tuple(_host(one) for one in top.tables("host"))
    services = {role: _service(role, one) for role, one in _roles(top, where)}
    top.end()
    return Cluster(name, known, image, architecture, store, quorum, hosts, services)


def _image(top: Table, where: str) -> str:
    image, digest = top.text("image", ""), top.text("digest", "")
    if not digest:
        return image
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"{where}: digest must have the form {_DIGEST.pattern}.")
    if not image:
        raise InputError(f"{where}: digest is given, but no image that it is of.")
    return f"{image.partition('@')[0]}@{digest}"


def _quorum(row: Table) -> Quorum:
    quorum = Quorum(row.number("ensemble"), row.number("write"), row.number("ack"))
    row.end()
    return quorum


def _host(row: Table) -> Host:
    name, address, roles = row.matching("name", _NAME), row.text("address"), row.texts("roles")
    row.end()
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InputError(f"host {name}: address {address!r} is no IP address.") from error
    if unknown := [role for role in roles if role not in ROLES]:
        raise InputError(f"host {name}: the role {unknown[0]} is not known: choose among {', '.join(ROLES)}.")
    return Host(name, address, cast("tuple[Role, ...]", roles))


def _roles(top: Table, where: str) -> Iterator[tuple[Role, Table]]:
    for name, row in top.named("role"):
        if name not in ROLES:
            raise InputError(f"{where}: [role.{name}] is not known: choose among {', '.join(ROLES)}.")
        yield name, row


def _service(role: Role, row: Table) -> Service:
    heap, direct = row.text("heap", "512m"), row.text("direct", "512m")
    for key, value in (("heap", heap), ("direct", direct)):
        if not _SIZE.fullmatch(value):
            raise InputError(f"[role.{role}]: {key} is {value!r}: write a size such as 512m or 2g.")
    replicas = row.number("replicas", 1)
    service = Service(
        role,
        replicas,
        heap,
        direct,
        _ports(role, row.table("ports")),
        _folders(role, row.table("folders")),
        dict(row.pairs("configuration")),
        row.text("image", ""),
    )
    row.end()
    return service


def _ports(role: Role, row: Table) -> Mapping[str, int]:
    ports = {name: row.number(name, port) for name, port in _PORTS[role].items()}
    row.end()
    for name, port in ports.items():
        if not 0 < port < 1 << 16:
            raise InputError(f"[role.{role}.ports]: {name} is {port}, which is no port.")
    return ports


def _folders(role: Role, row: Table) -> Mapping[str, str]:
    folders = {name: row.text(name, f"/var/lib/pulsar/{role}/{name}") for name in _FOLDERS[role]}
    row.end()
    for name, folder in folders.items():
        if not folder.startswith("/") or ".." in folder.split("/"):
            raise InputError(f"[role.{role}.folders]: {name} is {folder!r}: write an absolute path.")
    return folders


def _mistakes(cluster: Cluster) -> Iterator[str]:
    """What is wrong with the description as a whole, the first thing first."""
    yield from _missing(cluster)
    yield from _quorum_mistakes(cluster)
    yield from _host_mistakes(cluster)
    if cluster.store == "etcd":
        yield from _etcd_mistakes(cluster)


def _missing(cluster: Cluster) -> Iterator[str]:
    for role in (cluster.store, "bookie", "broker"):
        if role not in cluster.services:
            yield f"[role.{role}] is missing: a cluster needs it."
        elif not cluster.count(role):
            yield f"no host runs the role {role}, and none is asked for: a cluster needs it."
    for host in cluster.hosts:
        for role in host.roles:
            if role not in cluster.services:
                yield f"host {host.name} runs {role}, but [role.{role}] is missing."
    other = "etcd" if cluster.store == "zookeeper" else "zookeeper"
    if other in cluster.services:
        yield f"metadata is {cluster.store}, but [role.{other}] is there too: remove one."
    if cluster.store == "zookeeper" and cluster.count("zookeeper") == 2:
        yield "two ZooKeeper servers stand no loss of one: take one, or three."


def _quorum_mistakes(cluster: Cluster) -> Iterator[str]:
    quorum, bookies = cluster.quorum, cluster.count("bookie")
    if not quorum.ensemble >= quorum.write >= quorum.ack >= 1:
        yield "[quorum] must be ensemble >= write >= ack >= 1."
    if quorum.ensemble > bookies:
        yield f"[quorum]: ensemble is {quorum.ensemble}, but with {bookies} bookies nothing could be written."


def _host_mistakes(cluster: Cluster) -> Iterator[str]:
    for what, values in (
        ("name", [host.name for host in cluster.hosts]),
        ("address", [host.address for host in cluster.hosts]),
    ):
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            yield f"the {what} {twice[0]} is given to two hosts."
    for host in cluster.hosts:
        taken: dict[int, str] = {}
        for role in host.roles:
            for name, port in cluster.services[role].ports.items():
                if port in taken:
                    yield (
                        f"host {host.name}: port {port} is wanted by {taken[port]} and by {role} ({name}); "
                        f"give one of them another in [role.{role}.ports]."
                    )
                taken[port] = f"{role} ({name})"


def _etcd_mistakes(cluster: Cluster) -> Iterator[str]:
    version = cluster.release.version
    if cluster.generation < _FIRST_WITH_ETCD:
        yield f"Pulsar {version} knows no etcd: metadata must be zookeeper, or the release 2.10 or later."
    if cluster.generation == _FIRST_WITH_ETCD and cluster.count("etcd") > 1:
        yield f"Pulsar {version} takes one etcd endpoint only: one host, or a release from 2.11 on."
    if cluster.generation == _FIRST_WITH_ETCD and "autorecovery" in cluster.services:
        yield (
            f"autorecovery of Pulsar {version} on etcd hangs without a word, and never repairs a ledger: "
            "remove [role.autorecovery], or take ZooKeeper or a release from 4.0 on."
        )
