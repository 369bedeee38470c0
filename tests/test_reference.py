"""Names of images, with docker's defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulsar_arm.errors import UsageError
from pulsar_arm.formats.reference import is_reference, read_reference

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("apachepulsar/pulsar:2.6.0", "docker.io/apachepulsar/pulsar:2.6.0"),
        ("index.docker.io/debian:12", "docker.io/library/debian:12"),
        ("localhost/x", "localhost/x:latest"),
        ("127.0.0.1:5000/a/b_c/d-e:T.1", "127.0.0.1:5000/a/b_c/d-e:T.1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
        (f"ghcr.io/a/b:1@{DIGEST}", f"ghcr.io/a/b:1@{DIGEST}"),
    ],
)
def test_a_name_is_completed_as_docker_does(text: str, whole: str) -> None:
    assert str(read_reference(text)) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "a:",
        "ghcr.io/UP",
        "a//b",
        "a b",
        "a@sha256:12",
        "a:b:c",
        "ghcr.io/-a",
        "a/" * 200,
    ],
)
def test_what_no_registry_takes_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r": give .*\.$"):
        read_reference(text)


@pytest.mark.parametrize("text", ["pulsar:2.6.0", "a/b@" + DIGEST, "docker://debian", "docker-daemon:x"])
def test_a_source_with_a_tag_a_digest_or_a_prefix_is_an_image_elsewhere(text: str) -> None:
    assert is_reference(text)


@pytest.mark.parametrize("text", ["pulsar", "2.6.0", "images/x.tar", "a:b.tar", "C:\\x:1", "./a/b"])
def test_other_sources_are_no_images_elsewhere(text: str) -> None:
    assert not is_reference(text)


def test_a_path_that_is_there_goes_before_an_image_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pulsar:1").mkdir()
    assert not is_reference("pulsar:1")
