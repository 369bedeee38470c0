"""What the servers of a cluster are in containers: command and environment, whatever runs the containers.

The images' own scripts write the environment into the configuration, as the official images have it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pulsar_arm.deploy.description import Cluster, Role
from pulsar_arm.deploy.settings import (
    CONF_FILES,
    Names,
    configuration,
    initialization,
    memory_variables,
    store_servers,
)
from pulsar_arm.errors import InputError
from pulsar_arm.formats.properties import read_properties

DATA = "/pulsar/data"
"""Where servers in containers keep what must not be lost: writable for user 10000 in every image."""
_PROGRAMS: Mapping[Role, str] = {
    "zookeeper": "bin/pulsar zookeeper",
    "bookie": "bin/pulsar bookie",
    "autorecovery": "bin/bookkeeper autorecovery",
    "broker": "bin/pulsar broker",
    "proxy": "bin/pulsar proxy",
}
_QUOTED_MEMORY = (2, 5)
"""The last generation whose script writes the variables into conf/bkenv.sh, where quotes are syntax."""


@dataclass(frozen=True, slots=True)
class Server:
    """One container."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


def in_containers(cluster: Cluster) -> Cluster:
    """The cluster with its folders as containers see them; InputError where no image is named."""
    if not cluster.image:
        raise InputError("image is missing: containers need the reference of a Pulsar image.")
    if cluster.store == "etcd" and not cluster.services["etcd"].image:
        raise InputError("[role.etcd]: image is missing: etcd runs in a container of an image of its own.")
    services = {
        role: replace(service, folders={name: f"{DATA}/{role}/{name}" for name in service.folders})
        for role, service in cluster.services.items()
    }
    return replace(cluster, services=services)


def server(
    cluster: Cluster,
    role: Role,
    names: Names,
    own_name: str,
    released: Mapping[str, str],
    number: str = "1",
    waits: Sequence[str] = (),
) -> Server:
    """A server of one role, which does the shell lines `waits` first.

    `number` is a ZooKeeper server's own, a number or a shell expression.
    """
    keys = configuration(cluster, role, names, own_name)
    peers = {key: keys.pop(key) for key in list(keys) if key.startswith("server.")}
    file = CONF_FILES[role]
    lines = ["set -e", *waits, f"bin/apply-config-from-env.py conf/{file}"]
    if role == "zookeeper":
        lines += _own_number(cluster.services[role].folders["data"], number)
        if peers:
            said = " ".join(shlex.quote(f"{key}={value}") for key, value in peers.items())
            # A container that is started again has the lines already.
            lines.append(f"grep -q '^server[.]' conf/{file} || printf '%s\\n' {said} >>conf/{file}")
    lines.append(f"exec {_PROGRAMS[role]}")
    environment = variables(keys, released[file]) | _memory(cluster, role)
    return Server(bash(lines), environment)


def _own_number(folder: str, number: str) -> list[str]:
    return [f"mkdir -p {folder}", f'echo "{number}" >{folder}/myid']


def _memory(cluster: Cluster, role: Role) -> dict[str, str]:
    """Without quotes: from 2.6.0 they would reach java, and up to 2.5 the value needs them (both run)."""
    found = memory_variables(role, cluster.services[role])
    if cluster.generation <= _QUOTED_MEMORY:
        return {name: f'"{value}"' for name, value in found.items()}
    return found


def variables(keys: Mapping[str, str], released: str) -> dict[str, str]:
    """The keys as variables of apply-config-from-env.py.

    One that the released file does not set takes a prefix; one that has that very value is left out.
    """
    there = read_properties(released)
    return {
        (key if key in there else f"PULSAR_PREFIX_{key}"): value
        for key, value in keys.items()
        if there.get(key) != value
    }


def initializer(cluster: Cluster, names: Names) -> tuple[str, ...]:
    """The command that initializes the metadata once the store answers; again it changes nothing."""
    lines = ["set -e", *wait_for_store(cluster, names), *_unless_known(cluster, names)]
    return bash([*lines, f"exec {shlex.join(initialization(cluster, names))}"])


def wait_for_store(cluster: Cluster, names: Names) -> list[str]:
    """Shell lines that wait for the first server of the store, with what every image has."""
    port = cluster.services[cluster.store].ports["client"]
    return [f"until (exec 3<>/dev/tcp/{names.store[0]}/{port}) 2>/dev/null; do sleep 2; done"]


def wait_for_metadata(cluster: Cluster, names: Names) -> str:
    """A shell line that ends once the cluster is initialized."""
    if cluster.store == "zookeeper":
        return f"bin/watch-znode.py -z {store_servers(cluster, names)} -p /admin/clusters/{cluster.name} -w"
    return f"until {_etcd_has(cluster, names)}; do sleep 2; done"


def _unless_known(cluster: Cluster, names: Names) -> list[str]:
    if cluster.store == "zookeeper":
        asked = f"bin/watch-znode.py -z {store_servers(cluster, names)} -p /admin/clusters/{cluster.name} -e"
        return [f"if {asked}; then echo initialized already; exit 0; fi"]
    return [f"if {_etcd_has(cluster, names)}; then echo initialized already; exit 0; fi"]


def _etcd_has(cluster: Cluster, names: Names) -> str:
    """Asks etcd's HTTP gateway, which takes and gives base64."""
    port = cluster.services["etcd"].ports["client"]
    key = f'"{{\\"key\\": \\"$(printf %s /admin/clusters/{cluster.name} | base64 -w0)\\"}}"'
    return f"curl -fsS -m 10 http://{names.store[0]}:{port}/v3/kv/range -d {key} | grep -q kvs"


def etcd_command(cluster: Cluster, own_name: str, members: Sequence[str]) -> tuple[str, ...]:
    """One member of etcd in a container of its own image."""
    service = cluster.services["etcd"]
    client, peer = service.ports["client"], service.ports["peer"]
    known = ",".join(f"{name}=http://{name}:{peer}" for name in members)
    return (
        "etcd",
        f"--name={own_name}",
        f"--data-dir={service.folders['data']}",
        f"--listen-client-urls=http://0.0.0.0:{client}",
        f"--advertise-client-urls=http://{own_name}:{client}",
        f"--listen-peer-urls=http://0.0.0.0:{peer}",
        f"--initial-advertise-peer-urls=http://{own_name}:{peer}",
        f"--initial-cluster={known}",
    )


def bash(lines: Sequence[str]) -> tuple[str, ...]:
    """The shell lines as the command of a container."""
    return ("bash", "-c", "\n".join(lines))
