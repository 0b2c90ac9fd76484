"""What may be a device's name: dev_valid_name and the names that sysctls keep, as Linux 6.18 took and refused them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.lab import Lab
from emu.scenario.run import run

TAKEN = ["lo", "eth0", "eth0.100", "123456789012345", "ä", "-", "a#b", "cali1234567890a", "x@y"]
REFUSED = [
    "", ".", "..", "all", "default", "a b", "a/b", "a:b", "a\tb", "a\nb", "a\vb", "1234567890123456", "ääääääää",
    "a%d", "%s", "veth0\0", "evil0 netns 1", "à",
]  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_linux_takes(name: str) -> None:
    assert Device(Clock(), name).name == name


@pytest.mark.parametrize("name", REFUSED)
def test_linux_refuses(name: str) -> None:
    """A name with % is a pattern, of which the kernel makes another name; à has a byte that its isspace() counts."""
    with pytest.raises(InputError, match=r"is not a device's name \(expected 1 to 15 bytes"):
        Device(Clock(), name)
    lab = Lab()
    with pytest.raises(InputError, match=r"is not a device's name"):
        lab.bridge(lab.host("one"), name)


SCENARIO = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: names}
cluster: {nodes: 1, network: odd.conflist}
steps: []
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: app}]}
"""


@pytest.mark.parametrize("name", [each for each in REFUSED if each])
def test_a_conflist_with_such_a_bridge_is_bad_input(name: str, tmp_path: Path) -> None:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]]}
    network = {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "bridge", "bridge": name, "ipam": ipam}]}
    (tmp_path / "odd.conflist").write_text(json.dumps(network))
    (tmp_path / "names.yaml").write_text(SCENARIO)
    with pytest.raises(InputError) as caught:
        run(str(tmp_path / "names.yaml"))
    assert f"names.yaml:5: cluster: pod default/client gets no network on node-1: {name!r} is not a" in str(
        caught.value
    )
