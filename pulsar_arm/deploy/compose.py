"""A cluster as one compose file, for one machine with Docker: all servers in one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulsar_arm.deploy.containers import (
    DATA,
    etcd_command,
    in_containers,
    initializer,
    server,
)
from pulsar_arm.deploy.description import Cluster, Role
from pulsar_arm.deploy.files import File
from pulsar_arm.deploy.settings import ORDER, Names
from pulsar_arm.formats.yaml_text import yaml_text

_COMMENT = """{name}: Pulsar {version} in containers of one machine. Start with: docker compose up -d
The image must be there: pulsar-arm build --load, or a registry that has it for {platform}."""


def render(cluster: Cluster, released: Mapping[str, str]) -> tuple[File, ...]:
    """The file `compose.yaml`."""
    inner = in_containers(cluster)
    names = Names(*(container_names(inner, role) for role in (inner.store, "bookie", "broker")))
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    for role in ORDER:
        for number, name in enumerate(container_names(inner, role), 1):
            services[name] = _service(inner, role, names, name, released, number)
            for mount in services[name].get("volumes", ()):
                volumes[mount.partition(":")[0]] = {}
        if role == inner.store:
            services["initialize"] = _initialize(inner, names)
    comment = _COMMENT.format(
        name=inner.name, version=inner.release.version, platform=inner.platform.oci_platform
    )
    document = {"name": inner.name.lower(), "services": services, "volumes": volumes}
    return (File("compose.yaml", yaml_text([document], comment)),)


def container_names(cluster: Cluster, role: Role) -> tuple[str, ...]:
    """`bookie1`, `bookie2`; numbers from 1."""
    return tuple(f"{role}{number}" for number in range(1, cluster.count(role) + 1))


def _service(
    cluster: Cluster, role: Role, names: Names, name: str, released: Mapping[str, str], number: int
) -> dict[str, Any]:
    image = cluster.services[role].image or cluster.image
    if role == "etcd":
        service: dict[str, Any] = {"image": image, "platform": cluster.platform.oci_platform}
        service["command"] = list(etcd_command(cluster, name, names.store))
    else:
        made = server(cluster, role, names, name, released, str(number))
        service = {"image": image, "platform": cluster.platform.oci_platform}
        service["command"] = [_escaped(word) for word in made.command]
        service["environment"] = dict(made.environment)
        # A first process that reaps: else a server that died looks alive to pulsar-daemon's scripts.
        service["init"] = True
    service["hostname"] = name
    service["restart"] = "unless-stopped"
    if role != cluster.store:
        service["depends_on"] = {"initialize": {"condition": "service_completed_successfully"}}
    if cluster.services[role].folders:
        service["volumes"] = [f"{name}:{DATA}"]
    if role in ("broker", "proxy") and number == 1:
        service["ports"] = [f"{port}:{port}" for port in cluster.services[role].ports.values()]
    return service


def _initialize(cluster: Cluster, names: Names) -> dict[str, Any]:
    return {
        "image": cluster.image,
        "platform": cluster.platform.oci_platform,
        "command": [_escaped(word) for word in initializer(cluster, names)],
        "restart": "on-failure",
        "depends_on": list(names.store),
    }


def _escaped(text: str) -> str:
    """Compose fills in variables itself; a dollar of ours is written twice."""
    return text.replace("$", "$$")
