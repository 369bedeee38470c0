"""The targets a description can be rendered for, by the name that `--to` takes; a target is one file here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pulsar_arm.deploy import bare_metal, compose, helm, kubernetes, swarm
from pulsar_arm.deploy.description import Cluster
from pulsar_arm.deploy.files import File

Renderer = Callable[[Cluster, Mapping[str, str]], tuple[File, ...]]
"""Takes the cluster and the release's own configuration files."""

TARGETS: Mapping[str, Renderer] = {
    "compose": compose.render,
    "swarm": swarm.render,
    "helm": helm.render,
    "kubernetes": kubernetes.render,
    "bare-metal": bare_metal.render,
}
