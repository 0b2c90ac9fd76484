"""What a capture keeps about an interface: the other end of its cable, whose it is, the node of a pod; also of what is gone."""

from __future__ import annotations

import emu
from emu.capture.capture import Capture
from small import MANIFESTS


def by_name(capture: Capture | None) -> dict[str, tuple[str, str, str]]:
    """Role, node, and the name of the other end."""
    assert capture is not None
    capture.mark()
    ends = {each.number: each.name for each in capture.interfaces}
    return {
        each.name: (each.role, each.node, "" if each.peer is None else ends[each.peer]) for each in capture.interfaces
    }


def test_a_cluster() -> None:
    cluster = emu.Cluster(2, MANIFESTS)
    found = by_name(cluster.capture)
    veth = found["default/web/eth0"][2]
    assert found["default/web/eth0"] == ("pod", "node-2", veth)
    assert veth.startswith("node-2/veth")
    assert found[veth] == ("node", "", "default/web/eth0")
    assert found["default/web/drop"] == ("pod", "node-2", "")
    assert {role for role, *_ in found.values()} == {"pod", "node", "underlay", "outside"}
    cluster.delete("pod", "default", "web", grace_s=0)
    assert by_name(cluster.capture)["default/web/eth0"] == ("pod", "node-2", veth)


def test_a_lab() -> None:
    lab = emu.Lab()
    lab.cable(lab.host("client"), "10.0.0.1/24", lab.router("router"), "10.0.0.2/24")
    found = by_name(lab.fork().capture)
    assert found["client/eth0"] == ("host", "", "router/eth0")
    assert found["router/eth0"] == ("router", "", "client/eth0")
    assert found["router/lo"] == ("router", "", "")
