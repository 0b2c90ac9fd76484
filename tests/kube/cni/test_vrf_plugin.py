"""The vrf plugin as today's source has it: routes move with the interface; what a pod in a VRF answers, and to whom."""

from __future__ import annotations

from typing import Any

import pytest

from emu.clock import SECOND, Clock
from emu.kernel import boot
from emu.kernel.commands import rule_add
from emu.kernel.net.netns import Netns
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, CniError, Host


def made(**vrf: Any) -> tuple[Netns, Netns, Runtime, NetworkConfigList, Attachment]:
    ipam = {
        "type": "host-local",
        "subnet": "10.9.0.0/24",
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.50.0.0/16", "gw": "10.9.0.7"}],
    }
    plugins = [{"type": "bridge", "isGateway": True, "ipam": ipam}, {"type": "vrf", "vrfname": "red", **vrf}]
    network = NetworkConfigList.from_json({"cniVersion": "1.0.0", "name": "net", "plugins": plugins})
    clock = Clock(1)
    node, pod = boot.namespace(clock, "node"), boot.namespace(clock, "pod")
    runtime, attachment = Runtime(), Attachment("c1", pod, "eth0", Host(node))
    runtime.add(network, attachment)
    clock.drain()
    return node, pod, runtime, network, attachment


def routes(net: Netns, table: int) -> list[str]:
    return [route.text() for route in net.ipv4.fib.table(table)]


def ping(net: Netns, target: str) -> bool:
    socket = net.sockets.ping()
    try:
        socket.send(target, 1)
    except OSError:
        return False
    net.clock.run(limit_ns=net.clock.now + SECOND)
    return len(socket.replies) == 1


def test_routes_move_into_the_table_of_the_vrf() -> None:
    _, pod, runtime, network, attachment = made(table=100)
    assert routes(pod, 254) == []
    assert routes(pod, 100) == [
        "default via 10.9.0.1 dev eth0",
        "10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.2",
        "local 10.9.0.2 dev eth0 proto kernel scope host src 10.9.0.2",
        "broadcast 10.9.0.255 dev eth0 proto kernel scope link src 10.9.0.2",
        "10.50.0.0/16 via 10.9.0.7 dev eth0",
    ]
    assert [rule.text() for rule in pod.ipv4.fib.rules][1] == "1000: from all lookup [l3mdev-table]"
    runtime.delete(network, attachment)
    assert sorted(pod.devices) == ["lo"] and routes(pod, 100) == []


def test_a_pod_in_a_vrf_answers_pings_and_no_socket_of_it_receives() -> None:
    node, pod, *_ = made()
    assert ping(node, "10.9.0.2")
    assert not ping(pod, "10.9.0.1"), "without a route in main, a socket that is bound to no device has none"
    pod.sockets.udp().bind(("0.0.0.0", 53))
    before = pod.drops["NO_SOCKET"]
    client = node.sockets.udp()
    client.sendto(b"?", ("10.9.0.2", 53))
    node.clock.drain()
    assert pod.drops["NO_SOCKET"] == before + 1


def test_the_first_free_table_is_taken() -> None:
    _, pod, runtime, _, attachment = made()
    assert routes(pod, 1)
    other = NetworkConfigList.from_json(
        {"cniVersion": "1.0.0", "name": "two", "plugins": [
            {"type": "dummy", "ipam": {"type": "static", "addresses": [{"address": "10.8.0.2/24"}]}},
            {"type": "vrf", "vrfname": "blue"},
        ]}
    )  # fmt: skip
    runtime.add(other, Attachment("c1", pod, "net1", attachment.host))
    assert [each.split()[0] for each in routes(pod, 2)] == ["10.8.0.0/24", "local", "broadcast"]
    with pytest.raises(CniError, match="VRF red already exist with different routing table 1"):
        bad = NetworkConfigList.from_json(
            {
                "cniVersion": "1.0.0",
                "name": "bad",
                "plugins": [other.plugins[0], {"type": "vrf", "vrfname": "red", "table": 7}],
            }
        )
        runtime.add(bad, Attachment("c1", pod, "net2", attachment.host))


def test_the_rule_may_be_made_by_hand() -> None:
    net = boot.namespace(Clock(1), "host")
    rule_add(net, "l3mdev priority 1000")
    assert [rule.text() for rule in net.ipv4.fib.rules][1] == "1000: from all lookup [l3mdev-table]"
