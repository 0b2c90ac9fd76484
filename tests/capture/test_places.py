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


def test_a_device_that_goes_before_the_first_look_is_known_as_one_that_goes_later() -> None:
    def known(*, looked_at: bool) -> dict[str, tuple[str, tuple[tuple[int, int], ...]]]:
        cluster = emu.Cluster(2, MANIFESTS)
        assert cluster.capture is not None
        if looked_at:
            cluster.capture.mark()
        cluster.delete("pod", "default", "web", grace_s=0)
        cluster.capture.mark()
        return {each.name: (each.description, each.addresses) for each in cluster.capture.interfaces}

    found = known(looked_at=False)
    assert found == known(looked_at=True)
    assert found["default/web/eth0"][1] and any(" cbr0" in words for words, _ in found.values())
