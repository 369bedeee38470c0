from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pulsar_arm.errors import CatalogError
from pulsar_arm.formats.dockerfile import read_dockerfile
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.image import Recipe, Wish, image_names, recipe
from pulsar_arm.platforms import AARCH64
from pulsar_arm.tree import Layer

PARENT = Image(json.dumps({"os": "linux", "architecture": "arm64"}).encode(), ())
FILE = LayerEntry("pulsar/a", "file", 0o644, source=b"a")
WISH = Wish(
    name="pulsar",
    version="9.9.9",
    platform=AARCH64,
    parent_name="debian",
    parent=PARENT,
    layers=(Layer("third-party", (FILE,)), Layer("native", ())),
    labels=(("org.made.title", 'two "words" and $x \\ y'), ("org.made.empty", "")),
    environment=(("PULSAR_PID_DIR", "/pulsar/logs"), ("MADE", "a b")),
    user="10000",
)
CREATED = "2020-06-17T00:00:00Z"


def rendered(wish: Wish = WISH) -> Recipe:
    return recipe(wish, CREATED)


def test_the_shipped_templates_are_the_images_there_are() -> None:
    assert image_names() == ("pulsar", "pulsar-all")


@pytest.mark.parametrize("name", image_names())
def test_every_template_is_multi_stage_and_has_no_run(name: str) -> None:
    dockerfile = read_dockerfile(rendered(replace(WISH, name=name)).dockerfile, name)
    *parts, last = dockerfile.stages
    assert [(stage.name, stage.base) for stage in parts] == [
        ("third-party", "scratch"),
        ("native", "scratch"),
    ]
    assert [[(one.keyword, one.words) for one in stage.instructions] for stage in parts] == [
        [("ADD", ("third-party.tar", "/"))],
        [("ADD", ("native.tar", "/"))],
    ]
    assert last.base == "debian"
    copies = [one for one in last.instructions if one.keyword == "COPY"]
    assert [(one.flag("from"), one.words) for one in copies] == [
        ("third-party", ("/", "/")),
        ("native", ("/", "/")),
    ]
    assert {one.keyword for stage in dockerfile.stages for one in stage.instructions} <= {
        "ADD",
        "COPY",
        "LABEL",
        "ENV",
        "WORKDIR",
        "USER",
    }


def test_labels_and_environment_arrive_as_they_were_given() -> None:
    last = read_dockerfile(rendered().dockerfile, "x").stages[-1]
    told = {
        keyword: [one.words for one in last.instructions if one.keyword == keyword]
        for keyword in ("LABEL", "ENV")
    }
    assert told["LABEL"] == [('org.made.title=two "words" and $x \\ y', "org.made.empty=")]
    assert told["ENV"][:2] == [("PULSAR_PID_DIR=/pulsar/logs",), ("MADE=a b",)]
    assert [(one.keyword, one.words) for one in last.instructions[-2:]] == [
        ("WORKDIR", ("/pulsar",)),
        ("USER", ("10000",)),
    ]


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ({"PATH": "/opt/jvm/bin:/bin"}, "/opt/jvm/bin:/bin:/pulsar/bin"),
        ({}, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/pulsar/bin"),
    ],
)
def test_the_programs_of_pulsar_are_found_after_those_of_the_base(parent: dict[str, str], path: str) -> None:
    last = read_dockerfile(rendered().dockerfile, "x", environments={"debian": parent}).stages[-1]
    assert [one.words for one in last.instructions if one.keyword == "ENV"][-1] == (f"PATH={path}",)


def test_a_recipe_holds_the_context_and_the_parent() -> None:
    made = rendered()
    assert made.context == {"third-party.tar": (FILE,), "native.tar": ()}
    assert made.images == {"debian": PARENT}
    assert (made.name, made.platform, made.created) == ("pulsar", AARCH64, CREATED)
    assert "# Apache Pulsar 9.9.9 for linux/arm64, prepared by pulsar-arm." in made.dockerfile


def test_rendering_twice_gives_the_same_text() -> None:
    assert rendered().dockerfile == rendered().dockerfile
    assert rendered().dockerfile.endswith("\n") or rendered().dockerfile.splitlines()[-1] == "USER 10000"


def test_an_image_without_a_template_is_told() -> None:
    with pytest.raises(CatalogError, match=r"dockerfiles/nothing\.Dockerfile\.j2 cannot be rendered"):
        rendered(replace(WISH, name="nothing"))


def test_the_templates_lie_where_the_catalog_says() -> None:
    assert all(
        (Path(__file__).parent.parent / "dockerfiles" / f"{name}.Dockerfile.j2").is_file()
        for name in image_names()
    )
