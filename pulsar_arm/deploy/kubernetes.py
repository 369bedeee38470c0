"""A cluster as plain Kubernetes objects, without a chart: the way to etcd, which the chart lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulsar_arm.deploy.containers import (
    DATA,
    bash,
    etcd_command,
    in_containers,
    initializer,
    server,
    wait_for_metadata,
    wait_for_store,
)
from pulsar_arm.deploy.description import Cluster, Role
from pulsar_arm.deploy.files import File
from pulsar_arm.deploy.settings import ORDER, Names
from pulsar_arm.formats.yaml_text import yaml_text

_COMMENT = """{name}: Pulsar {version} as plain Kubernetes objects. Apply with: kubectl apply -f cluster.yaml
Every pod is bound to {arch} nodes, waits with the image's own tools, and runs as user 10000 of group 0."""
_ROOM = "10Gi"
_NUMBER = "$(( ${HOSTNAME##*-} + 1 ))"
"""A ZooKeeper server's number: the ordinal of its pod, from 1."""


def render(cluster: Cluster, released: Mapping[str, str]) -> tuple[File, ...]:
    """The file `cluster.yaml`."""
    inner = in_containers(cluster)
    names = Names(*(_pods(inner, role) for role in (inner.store, "bookie", "broker")))
    # Clients and the metadata know the brokers by their service.
    names = Names(names.store, names.bookies, (_service_name(inner, "broker"),))
    documents: list[dict[str, Any]] = []
    for role in ORDER:
        if inner.count(role):
            documents += [_service(inner, role), _stateful_set(inner, role, names, released)]
        if role == inner.store:
            documents.append(_job(inner, names))
    comment = _COMMENT.format(name=inner.name, version=inner.release.version, arch=inner.platform.oci)
    return (File("cluster.yaml", yaml_text(documents, comment)),)


def _service_name(cluster: Cluster, role: Role) -> str:
    return f"{cluster.name.lower()}-{role}"


def _pods(cluster: Cluster, role: Role) -> tuple[str, ...]:
    """The stable names that a headless service gives the pods of a stateful set."""
    name = _service_name(cluster, role)
    return tuple(f"{name}-{number}.{name}" for number in range(cluster.count(role)))


def _labels(cluster: Cluster, role: str) -> dict[str, str]:
    instance = cluster.name.lower()
    return {"app.kubernetes.io/name": "pulsar", "app.kubernetes.io/instance": instance, "component": role}


def _service(cluster: Cluster, role: Role) -> dict[str, Any]:
    ports = cluster.services[role].ports
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _service_name(cluster, role), "labels": _labels(cluster, role)},
        "spec": {
            "clusterIP": "None",
            # Peers must find each other before they are ready, or no quorum could form.
            "publishNotReadyAddresses": role == cluster.store,
            "selector": _labels(cluster, role),
            "ports": [{"name": name, "port": port} for name, port in ports.items()],
        },
    }


def _stateful_set(cluster: Cluster, role: Role, names: Names, released: Mapping[str, str]) -> dict[str, Any]:
    spec = {
        **_pod(cluster),
        "containers": [_container(cluster, role, names, released)],
    }
    if role != cluster.store:
        waits = bash([wait_for_metadata(cluster, names)])
        wait = {"name": "wait", "image": cluster.image, "command": list(waits)}
        spec["initContainers"] = [wait]
    if cluster.count(role) > 1:
        spec["affinity"] = _spread(cluster, role)
    stateful: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": _service_name(cluster, role), "labels": _labels(cluster, role)},
        "spec": {
            "serviceName": _service_name(cluster, role),
            "replicas": cluster.count(role),
            # Together: a ZooKeeper server is not ready before a second one runs.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": _labels(cluster, role)},
            "template": {"metadata": {"labels": _labels(cluster, role)}, "spec": spec},
        },
    }
    if cluster.services[role].folders:
        stateful["spec"]["volumeClaimTemplates"] = [
            {
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _ROOM}}},
            }
        ]
    return stateful


def _container(cluster: Cluster, role: Role, names: Names, released: Mapping[str, str]) -> dict[str, Any]:
    service = cluster.services[role]
    own = f"$(HOSTNAME).{_service_name(cluster, role)}"
    container: dict[str, Any] = {"name": role, "image": service.image or cluster.image}
    hostname = {"name": "HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    if role == "etcd":
        container["command"] = list(etcd_command(cluster, own, names.store))
        container["env"] = [hostname]
    else:
        made = server(cluster, role, names, own, released, _NUMBER)
        container["command"] = list(made.command)
        rows = [{"name": name, "value": value} for name, value in made.environment.items()]
        container["env"] = [hostname, *rows]
    container["ports"] = [{"name": name, "containerPort": port} for name, port in service.ports.items()]
    if role != "autorecovery":
        probe = {"tcpSocket": {"port": next(iter(service.ports.values()))}}
        container["readinessProbe"] = {**probe, "initialDelaySeconds": 10, "periodSeconds": 10}
    if service.folders:
        container["volumeMounts"] = [{"name": "data", "mountPath": DATA}]
    return container


def _pod(cluster: Cluster) -> dict[str, Any]:
    return {
        "nodeSelector": {"kubernetes.io/arch": cluster.platform.oci},
        "securityContext": {"runAsUser": 10000, "runAsGroup": 0, "fsGroup": 0},
    }


def _spread(cluster: Cluster, role: Role) -> dict[str, Any]:
    """Rather on different nodes: demanded, a cluster of two nodes would not start three servers."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": _labels(cluster, role)}}
    rule = {"weight": 100, "podAffinityTerm": term}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [rule]}}


def _job(cluster: Cluster, names: Names) -> dict[str, Any]:
    container = {"name": "initialize", "image": cluster.image, "command": list(initializer(cluster, names))}
    wait = {"name": "wait", "image": cluster.image, "command": list(bash(wait_for_store(cluster, names)))}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{cluster.name.lower()}-initialize", "labels": _labels(cluster, "initialize")},
        "spec": {
            "template": {
                "metadata": {"labels": _labels(cluster, "initialize")},
                "spec": {
                    **_pod(cluster),
                    "restartPolicy": "OnFailure",
                    "initContainers": [wait],
                    "containers": [container],
                },
            }
        },
    }
