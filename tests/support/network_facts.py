"""What a pod network does, read off the frames of a run: the cells of the README's table of networks.

`read` builds a cluster of two nodes from the words of a scenario's `cluster`, sends pings and two connections, and looks at
the captured frames alone. Only the mask is no frame's: it is read off the pod's address. Must not know any network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from emu.capture.captured import Captured
from emu.kube.cluster import Cluster
from emu.scenario.build import build
from emu.scenario.script import load_text
from emu.wire.addr import ip4_text, mac_text

UNDERLAY = "switched"  # where a row names none: each node is on the other's link
PODS = """\
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: near}
spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}
"""
CLIENT, NEAR, FAR = (f"default/{pod}/eth0" for pod in ("client", "near", "far"))
UPLINK, OUTSIDE = "node-1/eth0", "external/eth0"
LONG = b"x" * 40_000  # more than one segment of any MTU
LOWEST_BIT = 3  # the last three bits hold the gateway and the pods themselves: a mask of /29 or longer is read as /32
IPV4, ARP = b"\x08\x00", b"\x08\x06"
IS_AT = b"\x00\x02"
VXLAN_VNI = 0x08  # the flag "this has a VNI" (RFC 7348)


@dataclass(frozen=True)
class Facts:
    """A row of the table, in words. The fields are its columns."""

    mask: str
    on_link: str
    gateway: str
    ttl_same_node: str
    ttl_other_node: str
    encapsulation: str
    mtu: str
    largest_between_nodes: str
    source_outside: str


def read(words: str) -> Facts:
    """The facts of a network. `words`: the keys of `cluster`, as `network: bridge`."""
    cluster = _cluster(words)
    probed = _on_link(cluster)
    near = cluster.ping("default/client", "default/near")
    beside = cluster.ping("default/near", "default/far")
    far = cluster.tcp("default/client", "default/far:80", LONG)
    outside = cluster.tcp("default/client", "external:80", b"GET / HTTP/1.0\r\n\r\n")
    assert [str(flow.outcome) for flow in (near, beside, far, outside)] == ["delivered"] * 4
    assert far.received == LONG
    frames: list[Captured] = far.frames
    mtu = next(_segments(frames, CLIENT, "out"))["TCP"].options
    size = dict(each for each in mtu if len(each) == 2)["MSS"] + 40
    assert max(packet["IP"].len for packet in _segments(frames, CLIENT, "out")) == size  # it is used whole
    return Facts(
        mask=f"/{_address(cluster).prefix.length}",
        on_link=probed,
        gateway=_gateway(frames, beside.frames, [each for flow in cluster.flows.values() for each in flow.frames]),
        ttl_same_node=_ttl(near.frames, NEAR),
        ttl_other_node=_ttl(frames, FAR),
        encapsulation=_encapsulation(frames),
        mtu=str(size),
        largest_between_nodes=str(max(int.from_bytes(each.data[16:18]) for each in _at(frames, UPLINK, "out"))),
        source_outside=_source(cluster, outside.frames),
    )


def _cluster(words: str) -> Cluster:
    part = {"nodes": 2, "underlay": UNDERLAY, **yaml.safe_load(f"{{{words}}}")}
    head = {"apiVersion": "emu/v1", "kind": "Scenario", "metadata": {"name": "table"}, "cluster": part}
    return build(load_text(yaml.safe_dump(head) + PODS))


def _at(frames: list[Captured], interface: str, way: str) -> Iterator[Captured]:
    """The IPv4 frames of an interface in one direction."""
    return (
        each for each in frames if each.interface == interface and each.direction == way and each.data[12:14] == IPV4
    )


def _segments(frames: list[Captured], interface: str, way: str) -> Iterator[Any]:
    """Its TCP segments, as Scapy packets."""
    return (packet for each in _at(frames, interface, way) if (packet := each.packet()).haslayer("TCP"))


def _address(cluster: Cluster) -> Any:
    (address,) = [each for each in cluster.namespaces["default/client"].ipv4.addresses if each.device.name == "eth0"]
    return address


def _on_link(cluster: Cluster) -> str:
    """What the client asks for by ARP itself: addresses that differ from its own in one bit each, up to which bit."""
    own, asked = _address(cluster).addr, []
    for bit in range(LOWEST_BIT, 32):
        target = ip4_text(own ^ 1 << bit)
        found = cluster.ping("default/client", target).frames
        asked.append(
            any(
                f"out [client>bcast] ARP who-has {target} " in each.line() for each in found if each.interface == CLIENT
            )
        )
    count = sum(asked)
    assert asked == [True] * count + [False] * (len(asked) - count)  # a prefix
    return f"its /{32 - LOWEST_BIT - count}" if count else "nothing"


def _gateway(frames: list[Captured], others: list[Captured], asked: list[Captured]) -> str:
    """Whose MAC the client's packets to another node have, and for what the client asked to get it. `others`: what another
    pod of the node sent there; `asked`: all frames in which the client may have asked."""
    first = next(_at(frames, CLIENT, "out"))
    mac, target = first.data[:6], first.data[30:34]
    *ports, last = [each.place for each in frames if each.place.owner == "node-1" and each.data == first.data]
    device = last.device_name if ports else "the pod's veth"  # a bridge has it from a port
    if not ports and next(_at(others, NEAR, "out")).data[:6] == mac:
        device += f", {mac_text(mac)} for all pods"
    answers = [
        each.data[28:32]
        for each in asked
        if each.interface == CLIENT and each.data[12:14] == ARP and each.data[20:28] == IS_AT + mac
    ]
    if not answers:
        return f"{device}; no ARP"
    return f"{device}; ARP for {'the other pod itself' if answers[-1] == target else ip4_text(int.from_bytes(answers[-1]))}"


def _ttl(frames: list[Captured], interface: str) -> str:
    return str(next(_at(frames, interface, "in")).data[22])


def _encapsulation(frames: list[Captured]) -> str:
    """What the client's packet is in when it leaves its node."""
    outer = next(_at(frames, UPLINK, "out")).packet()
    if outer["IP"].proto == 4:
        return "IPIP"
    if outer.haslayer("UDP"):
        payload = bytes(outer["UDP"].payload)
        assert payload[0] == VXLAN_VNI
        return f"VXLAN {int.from_bytes(payload[4:7])}, UDP {outer['UDP'].dport}"
    return "none"


def _source(cluster: Cluster, frames: list[Captured]) -> str:
    """Whose address the packet has when it leaves the node, and what an internet gateway makes of it."""
    left, came = (next(_segments(frames, place, way))["IP"].src for place, way in ((UPLINK, "out"), (OUTSIDE, "in")))
    owner = next(
        name
        for name, net in cluster.namespaces.items()
        if any(ip4_text(each.addr) == left for each in net.ipv4.addresses)
    )
    return owner if came == left else f"{owner}, as {came}"
