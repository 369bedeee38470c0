"""A cluster as a stack of Docker Swarm: each server on the host that the description gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulsar_arm.deploy.containers import (
    etcd_command,
    in_containers,
    initializer,
    server,
    wait_for_metadata,
)
from pulsar_arm.deploy.description import Cluster, Host, Role
from pulsar_arm.deploy.files import File, template
from pulsar_arm.deploy.settings import ORDER, Names
from pulsar_arm.errors import InputError
from pulsar_arm.formats.yaml_text import yaml_text

_COMMENT = """{name}: Pulsar {version} on Docker Swarm.
Deploy with: docker stack deploy --compose-file stack.yaml {stack}
Run prepare.sh on each host first: the folders must be there, and writable for user 10000."""
_BROKERS = "broker"
"""The name that all brokers share, as the metadata says it."""


def render(cluster: Cluster, released: Mapping[str, str]) -> tuple[File, ...]:
    """`stack.yaml`, and a script for each host that makes its folders."""
    if not cluster.hosts:
        raise InputError("a swarm needs [[host]] tables: name, address and roles of each node.")
    inner = in_containers(cluster)
    names = Names(_names(inner, inner.store), _names(inner, "bookie"), (_BROKERS,))
    services: dict[str, Any] = {"initialize": _initialize(inner, names)}
    for role in ORDER:
        for number, host in enumerate(inner.hosts_of(role), 1):
            services[f"{role}{number}"] = _service(cluster, inner, role, names, host, released, number)
    comment = _COMMENT.format(name=cluster.name, version=cluster.release.version, stack=cluster.name.lower())
    document = {
        "version": "3.8",
        "services": services,
        "networks": {"pulsar": {"driver": "overlay", "attachable": True}},
    }
    return (File("stack.yaml", yaml_text([document], comment)), *_scripts(cluster))


def _scripts(cluster: Cluster) -> list[File]:
    files = []
    for host in cluster.hosts:
        folders = sorted({one for role in host.roles for one in cluster.services[role].folders.values()})
        text = template("prepare.sh.j2", host=host, folders=folders)
        files.append(File(f"{host.name}/prepare.sh", text, executable=True))
    return files


def _names(cluster: Cluster, role: Role) -> tuple[str, ...]:
    return tuple(f"{role}{number}" for number in range(1, cluster.count(role) + 1))


def _service(
    outer: Cluster,
    cluster: Cluster,
    role: Role,
    names: Names,
    host: Host,
    released: Mapping[str, str],
    number: int,
) -> dict[str, Any]:
    name = f"{role}{number}"
    if role == "etcd":
        service: dict[str, Any] = {
            "image": outer.services[role].image,
            "command": list(etcd_command(cluster, name, names.store)),
        }
    else:
        made = server(cluster, role, names, name, released, str(number))
        command = list(made.command)
        if role != "zookeeper":
            # A stack has no order: each server waits for the metadata itself.
            waits = wait_for_metadata(cluster, names)[2].removeprefix("exec ")
            command[2] = f"{waits}\n{command[2]}"
        service = {"image": cluster.image, "command": [word.replace("$", "$$") for word in command]}
        service["environment"] = dict(made.environment)
        service["init"] = True
    service["hostname"] = name
    service["networks"] = {"pulsar": {"aliases": [name, *([_BROKERS] if role == "broker" else [])]}}
    folders = outer.services[role].folders
    inside = cluster.services[role].folders
    if folders:
        service["volumes"] = [f"{path}:{inside[key]}" for key, path in folders.items()]
    if check := _health(cluster, role):
        service["healthcheck"] = check
    service["deploy"] = {
        "replicas": 1,
        # By name to an address: the virtual one needs a kernel with IP_VS on every node.
        "endpoint_mode": "dnsrr",
        "placement": {"constraints": [f"node.hostname == {host.name}"]},
        "restart_policy": {"condition": "any", "delay": "5s"},
    }
    if role in ("broker", "proxy"):
        # In the host's own network: dnsrr knows no routing mesh.
        service["ports"] = [
            {"target": port, "published": port, "mode": "host"}
            for port in cluster.services[role].ports.values()
        ]
    return service


def _health(cluster: Cluster, role: Role) -> dict[str, Any] | None:
    """Of the server alone: a task is in DNS only once it is healthy, so asking peers would lock it out."""
    if role in ("autorecovery", "etcd"):
        return None
    port = next(iter(cluster.services[role].ports.values()))
    return {
        "test": ["CMD", "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"],
        "interval": "10s",
        "timeout": "5s",
        "retries": 30,
        "start_period": "120s",
    }


def _initialize(cluster: Cluster, names: Names) -> dict[str, Any]:
    return {
        "image": cluster.image,
        "command": [word.replace("$", "$$") for word in initializer(cluster, names)],
        "networks": ["pulsar"],
        "deploy": {"replicas": 1, "restart_policy": {"condition": "on-failure", "delay": "5s"}},
    }
