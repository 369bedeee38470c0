"""Values for the official Helm chart of Pulsar (4.x), with every component on nodes of the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulsar_arm.deploy.description import Cluster, Role, Service
from pulsar_arm.deploy.files import File, template
from pulsar_arm.deploy.settings import CONF_FILES, memory
from pulsar_arm.errors import InputError
from pulsar_arm.formats.properties import read_properties
from pulsar_arm.formats.yaml_text import yaml_text

_COMPONENTS: Mapping[Role, str] = {
    "zookeeper": "zookeeper",
    "bookie": "bookkeeper",
    "autorecovery": "autorecovery",
    "broker": "broker",
    "proxy": "proxy",
}
_SELECTED = (
    "zookeeper",
    "bookkeeper",
    "autorecovery",
    "broker",
    "proxy",
    "toolset",
    "pulsar_manager",
    "pulsar_metadata",
    "function_worker",
    "standalone",
)
"""What takes a nodeSelector; there is no global one (apache/pulsar-helm-chart#275)."""
_COMMENT = """{name}: values for the official Pulsar chart, 4.x (apachepulsar/pulsar). Install with:
  helm install {release} CHART -f values.yaml
What the chart cannot be told stands in README.md beside this file."""


def render(cluster: Cluster, released: Mapping[str, str]) -> tuple[File, ...]:
    """`values.yaml`, an overlay for a pod that will not start, and what the chart cannot be told."""
    if cluster.store != "zookeeper":
        raise InputError("metadata is etcd, which the chart does not know: render --to kubernetes instead.")
    repository, tag = _image(cluster)
    values: dict[str, Any] = {
        "defaultPulsarImageRepository": repository,
        "defaultPulsarImageTag": tag,
        "components": {
            "zookeeper": True,
            "bookkeeper": True,
            "autorecovery": bool(cluster.count("autorecovery")),
            "broker": True,
            "proxy": bool(cluster.count("proxy")),
            "toolset": True,
            "functions": False,
            "pulsar_manager": False,
        },
        "victoria-metrics-k8s-stack": {"enabled": False},
        "affinity": {"anti_affinity": _nodes(cluster) >= _most(cluster)},
    }
    for component in _SELECTED:
        values[component] = {"nodeSelector": {"kubernetes.io/arch": cluster.platform.oci}}
    for role, component in _COMPONENTS.items():
        if role in cluster.services:
            values[component] |= _component(cluster, role, cluster.services[role], released)
    said = _COMMENT.format(name=cluster.name, release=cluster.name.lower())
    return (
        File("values.yaml", yaml_text([values], said)),
        File("debug.yaml", yaml_text([_debug(cluster)], _DEBUG)),
        File("README.md", template("helm.md.j2", cluster=cluster)),
    )


_DEBUG = """For a pod that will not start: helm upgrade ... -f values.yaml -f debug.yaml
It traces the start and keeps the container, so that kubectl exec can look; take it away afterwards."""


def _image(cluster: Cluster) -> tuple[str, str]:
    image, _at, digest = cluster.image.partition("@")
    if not image:
        raise InputError("image is missing: the chart needs the reference of a Pulsar image.")
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = image, cluster.release.version
    # The chart writes REPOSITORY:TAG, so a digest goes behind the tag, which engines take.
    return repository, f"{tag}@{digest}" if digest else tag


def _nodes(cluster: Cluster) -> int:
    return len(cluster.hosts) or _most(cluster)


def _most(cluster: Cluster) -> int:
    return max(cluster.count(role) for role in _COMPONENTS)


def _component(cluster: Cluster, role: Role, service: Service, released: Mapping[str, str]) -> dict[str, Any]:
    known = read_properties(released[CONF_FILES[role]])
    keys = {
        key if key in known else f"PULSAR_PREFIX_{key}": value for key, value in service.configuration.items()
    }
    if role == "broker":
        quorum = cluster.quorum
        keys |= {
            "managedLedgerDefaultEnsembleSize": str(quorum.ensemble),
            "managedLedgerDefaultWriteQuorum": str(quorum.write),
            "managedLedgerDefaultAckQuorum": str(quorum.ack),
        }
    # Without quotes of its own: the chart's files reach java as they are.
    name = "BOOKIE_MEM" if role in ("bookie", "autorecovery") else "PULSAR_MEM"
    keys[name] = memory(service)
    if role == "bookie":
        keys["PULSAR_MEM"] = memory(service)
    if gc := _collector(cluster):
        keys["PULSAR_GC"] = gc
        if role in ("bookie", "autorecovery"):
            keys["BOOKIE_GC"] = gc
    return {"replicaCount": cluster.count(role), "configData": keys}


def _collector(cluster: Cluster) -> str:
    """The chart sets ZGenerational for all, which Java 17 does not know: its JVM would not start."""
    if cluster.release.jre == 21:
        return ""
    return "-XX:+UseG1GC -XX:MaxGCPauseMillis=10" if cluster.release.jre < 17 else "-XX:+UseZGC"


def _debug(cluster: Cluster) -> dict[str, Any]:
    """The server is started with a trace, and the container stays when it ends; nothing kills it for that."""
    values: dict[str, Any] = {}
    for role, component in _COMPONENTS.items():
        if cluster.count(role):
            start = "bin/bookkeeper autorecovery" if role == "autorecovery" else f"bin/pulsar {role}"
            applied = f"bin/apply-config-from-env.py conf/{CONF_FILES[role]}"
            values[component] = {
                "additionalCommand": f"{applied}; bash -x {start}; tail -f /dev/null;",
                "probe": {name: {"enabled": False} for name in ("liveness", "readiness", "startup")},
            }
    return values
