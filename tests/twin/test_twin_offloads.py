"""Stories of the gallery once more, with Linux's default offloads on both sides: large segments, unfinished checksums."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import emu.scenario.gallery
from emu.scenario.script import load
from twins import agrees, needs_twin

pytestmark = needs_twin
FOLDER = Path(emu.scenario.gallery.__path__[0])
# All agree; these few have what offloads change: TCP on one node and across nodes, NAT, a rejection, loss, another network.
STORIES = (
    "closed-port", "flat-pod-subnet", "hairpin-on", "lossy-link", "node-and-pod", "pod-to-service", "same-port",
    "service-same-node",
)  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_the_kernel_agrees_with_offloads(name: str) -> None:
    script = load(FOLDER / f"{name}.yaml")
    cluster = msgspec.structs.replace(script.spec.cluster, offloads=True)
    script.spec = msgspec.structs.replace(script.spec, cluster=cluster)
    agrees(script, "offloads")
