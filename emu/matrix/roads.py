"""The road of a flow in the words of its ends: `source/eth0`, `source's node/cbr0`, `endpoint's node/eth0`, `endpoint/eth0`; NAT likewise.

Two flows of one kind have the same road, whatever their pods and nodes are called. Must not know cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emu.capture.capture import Capture
from emu.capture.interface import Interface
from emu.kernel.net.netns import Netns
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import Nat
from emu.matrix.ends import Whole
from emu.wire.addr import ip4_text

SOURCE, ENDPOINT = "source", "endpoint"
IPV4 = b"\x08\x00"
Roles = Mapping[str, str]
"""What each namespace is to the flow, by display name."""


def roles_of(places: Whole, source: str, endpoint: str, endpoint_node: str, front: str) -> Roles:
    """`endpoint` "" is one that no pod has; `endpoint_node` "" is not known; `front` is the node whose address was asked for, "" for none."""
    roles = {front: "front"} if front else {}
    pods = places.pods
    if endpoint_node in places.nodes:
        roles[endpoint_node] = f"{ENDPOINT}'s node"
    if endpoint in pods:
        roles[pods[endpoint].node.name if pods[endpoint].host_network else endpoint] = ENDPOINT
    if source in pods:
        roles[pods[source].node.name] = f"{SOURCE}'s node"
        roles[pods[source].node.name if pods[source].host_network else source] = SOURCE
    else:
        roles[source] = SOURCE
    return roles


def road_of(capture: Capture, flow: Flow, since: int, roles: Roles) -> tuple[str, ...]:
    """The interfaces that the first packet of a flow was seen at, in order; a drop is the last one."""
    seen = capture.frames(flow=flow.number, since=since)
    first = next((each for each in seen if each.direction != "in" and each.data[12:14] == IPV4), None)
    if first is None:
        return ()
    frames = (each for each in seen if each.packet_number == first.packet_number)
    return tuple(dict.fromkeys(_hop(capture.places, each.place, roles) for each in frames))


def _hop(interfaces: Sequence[Interface], place: Interface, roles: Roles) -> str:
    """`source's node/veth`: what is called by its pod or node is named by what is at the other end of its cable."""
    owner, device = place.owner, place.device_name
    far = interfaces[place.peer].owner if place.peer is not None else ""
    if owner not in roles and far in roles:
        device = f"port to {roles[far]}"
    elif owner in roles and device.startswith(("veth", "cali", "eni")):
        device = "veth"
    return f"{roles.get(owner, owner)}/{device}"


def nat_of(places: Whole, flow: Flow, endpoint: str, roles: Roles) -> tuple[str, ...]:
    """The translations of the flow's packets; without the ports that are drawn, and without what depends on the address of the endpoint."""
    return tuple(dict.fromkeys(_translation(places, each, endpoint, roles) for each in flow.translations))


def _translation(places: Whole, nat: Nat, endpoint: str, roles: Roles) -> str:
    addr, port = nat.after
    if nat.kind == "DNAT":
        same = f"{ip4_text(addr)}:{port}" == endpoint
        return f"DNAT to {ENDPOINT}:{port}" if same else f"DNAT to {ip4_text(addr)}:{port}"
    return f"SNAT to {next(_having(places.namespaces, addr, roles), ip4_text(addr))}"


def _having(namespaces: Mapping[str, Netns], addr: int, roles: Roles) -> Iterator[str]:
    """Who of the flow's ends and their nodes has an address."""
    for name, role in roles.items():
        if any(each.addr == addr for each in namespaces[name].ipv4.addresses):
            yield role
