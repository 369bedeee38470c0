"""What an instruction without files says in an image's config (OCI image-spec, config.md)."""

from __future__ import annotations

import re
from typing import Any

from pulsar_arm.engines.copying import absolute
from pulsar_arm.errors import BuildError
from pulsar_arm.formats.dockerfile import Instruction
from pulsar_arm.platforms import Platform

# What BuildKit gives an image that starts from scratch.
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Docker's own fields about the container that made a base: they say nothing of the new image.
_FOREIGN = ("container", "container_config", "docker_version", "id", "parent")

Settings = dict[str, Any]


def empty_settings(platform: Platform) -> Settings:
    """The config of `FROM scratch`."""
    return {
        "architecture": platform.oci,
        "os": "linux",
        "config": {"Env": [_PATH], "WorkingDir": "/"},
        "history": [],
        "rootfs": {"type": "layers", "diff_ids": []},
    }


def inherited_settings(settings: Settings, created: str) -> Settings:
    """The config of a base as a new image continues it: one history entry a layer at least."""
    kept = {key: value for key, value in settings.items() if key not in _FOREIGN}
    kept["config"] = dict(kept.get("config") or {})
    layers = kept["rootfs"]["diff_ids"]
    history = list(kept.get("history") or ())
    if len([step for step in history if not step.get("empty_layer")]) != len(layers):
        history = [{"created": created, "comment": "a layer of the base"} for _ in layers]
    kept["history"] = history
    kept["rootfs"] = {"type": "layers", "diff_ids": list(layers)}
    return kept


def record(settings: Settings, instruction: Instruction, created: str, *, layer: bool) -> None:
    """Tell of `instruction` in the history; one that makes no layer says so."""
    text = re.sub(r"\s+", " ", instruction.text)
    step = {"created": created, "created_by": text, "comment": "pulsar-arm"}
    settings["history"].append(step if layer else {**step, "empty_layer": True})


def configure(config: Settings, instruction: Instruction, *, has_command: bool) -> None:
    """Carry an instruction into `config`, the part that says how containers run.

    `has_command` tells whether this stage had a CMD before: if not, ENTRYPOINT drops the base's.
    BuildError, without file and line, for what is no such instruction.
    """
    words = instruction.words
    match instruction.keyword:
        case "ARG":
            pass
        case "ENV":
            config["Env"] = _environment(config.get("Env") or [], words)
        case "LABEL":
            config["Labels"] = (config.get("Labels") or {}) | dict(_pair(word) for word in words)
        case "USER":
            config["User"] = words[0]
        case "WORKDIR":
            config["WorkingDir"] = "/" + absolute(words[0], config.get("WorkingDir") or "/")
        case "EXPOSE":
            config["ExposedPorts"] = (config.get("ExposedPorts") or {}) | {_port(word): {} for word in words}
        case "VOLUME":
            config["Volumes"] = (config.get("Volumes") or {}) | {word: {} for word in words}
        case "STOPSIGNAL":
            config["StopSignal"] = words[0]
        case "CMD":
            config["Cmd"] = _command(instruction)
        case "ENTRYPOINT":
            config["Entrypoint"] = _command(instruction)
            if not has_command:
                config.pop("Cmd", None)
        case "RUN":
            raise BuildError("RUN needs the image's own programs; use the buildx engine")
        case other:
            raise BuildError(f"{other} is not understood by the embedded engine; use the buildx engine")


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _environment(before: list[str], words: tuple[str, ...]) -> list[str]:
    merged = dict(_pair(word) for word in before) | dict(_pair(word) for word in words)
    return [f"{key}={value}" for key, value in merged.items()]


def _command(instruction: Instruction) -> list[str]:
    return list(instruction.words) if instruction.exec_form else ["/bin/sh", "-c", *instruction.words]


def _port(word: str) -> str:
    if not re.fullmatch(r"[0-9]+(/(tcp|udp|sctp))?", word):
        raise BuildError(f"EXPOSE wants a port such as 8080 or 8080/tcp, not {word!r}")
    return word if "/" in word else f"{word}/tcp"
