"""What many tests want ready: a Repository that never goes out, and the shipped knowledge, read once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from builders_engines import own_builder
from hypothesis import HealthCheck, settings
from real import images, place, ported

from pulsar_arm.catalog import Catalog, folder, load_catalog
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.patches import Patch, load_patches

# No deadlines: machines of CI pause for longer than a property takes. `make fuzz` gives the number of
# examples; without it the properties take hypothesis' usual hundred.
settings.register_profile("usual", deadline=None)
settings.load_profile("usual")
if examples := os.environ.get("FUZZ_EXAMPLES"):
    every = list(HealthCheck)
    settings.register_profile("fuzz", max_examples=int(examples), deadline=None, suppress_health_check=every)
    settings.load_profile("fuzz")

# Programs started below `&` and nohup are deaf to Ctrl-C, and so would be all that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["images", "own_builder", "place", "ported"]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def patches() -> tuple[Patch, ...]:
    return load_patches(folder("patches"))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty cache and no network: fetching anything is refused."""
    return Repository(tmp_path / "cache", offline=True, progress=Silent())
