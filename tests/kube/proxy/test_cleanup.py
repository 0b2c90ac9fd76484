"""kube-proxy's own rows: which conntrack entries go after a sync, and when one looks for them at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from emu.clock import Clock
from emu.kernel.boot import namespace, netfilter
from emu.kernel.netfilter.conn import Conn, inverse
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import convert
from emu.kube.proxy.cleanup import CleanUp, local_ready, required, serving, stale
from emu.kube.proxy.proxier import clean_up
from emu.kube.proxy.services import Endpoint, PortKey, Snapshot
from emu.wire.addr import ip4

DATA = Path(__file__).parents[2] / "data" / "kube-proxy"
CLEANUP = yaml.load((DATA / "conntrack_cleanup.yaml").read_text(), yaml.CSafeLoader)["cases"]
CHANGES = yaml.load((DATA / "endpoint_changes.yaml").read_text(), yaml.CSafeLoader)
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
AF_INET6 = 10
CLIENT, HERE = ip4("10.9.9.9"), "here"


def snapshot(manifests: list[dict[str, Any]]) -> Snapshot:
    objects = [each for manifest in manifests for each in convert(manifest)]
    services = [each for each in objects if isinstance(each, Service)]
    return Snapshot.of(services, [each for each in objects if isinstance(each, EndpointSlice)])


def entry(row: dict[str, Any], number: int) -> Conn:
    net = namespace(Clock(), "node")
    netfilter(net)
    proto = PROTOCOLS[row["protocol"]]
    dst = ip4("192.168.7.7") if row["orig_dst"] == "any" else ip4(row["orig_dst"])
    orig = proto, CLIENT, dst, 1000 + number, row["orig_dport"]
    reply = inverse(orig)
    if row["reply_sport"] is not None:
        reply = proto, ip4(row["reply_src"]), CLIENT, row["reply_sport"], 1000 + number
    assert reply is not None and reply[1] == (dst if row["reply_sport"] is None else ip4(row["reply_src"]))
    return Conn(net.conntrack, number, orig, reply, 0)


@pytest.mark.parametrize("case", CLEANUP, ids=lambda case: case["name"])
def test_stale_entries(case: dict[str, Any]) -> None:
    entries = [entry(row, number) for number, row in enumerate(case["entries"])]
    gone = {each.number for each in stale(serving(snapshot(case["objects"])), entries)}
    assert gone == {number for number, row in enumerate(case["entries"]) if row["action"] == "delete"}


def test_there_are_rows() -> None:
    rows = [row for case in CLEANUP for row in case["entries"]]
    assert (len(rows), sum(row["action"] == "delete" for row in rows)) == (74, 14)
    assert len(CHANGES["cases"]) == 15


def endpoints(given: dict[str, list[str]]) -> dict[PortKey, tuple[Endpoint, ...]]:
    """A row's map, by way of the slices that make it: one a port."""
    slices = []
    for name, each in given.items():
        place, _, port = name.partition(":")
        namespace_, _, service = place.partition("/")
        addresses = [text.partition(" ")[::2] for text in each]
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": namespace_, "name": port, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [text.partition(":")[0]], **({"nodeName": HERE} if local else {})}
                for text, local in reversed(addresses)
            ],
            "ports": [{"name": port, "protocol": "UDP", "port": int(addresses[0][0].partition(":")[2])}],
        }
        slices += [found for found in convert(manifest) if isinstance(found, EndpointSlice)]
    return dict(Snapshot.of([], slices).endpoints)


@pytest.mark.parametrize("case", CHANGES["cases"], ids=lambda case: case["name"])
def test_endpoint_changes(case: dict[str, Any]) -> None:
    before, after = endpoints(case["before"]), endpoints(case["after"])
    for given, made in ((case["before"], before), (case["after"], after)):
        found = {
            f"{k.namespace}/{k.name}:{k.port}": [f"{e}{' local' * (e.node == HERE)}" for e in made[k]] for k in made
        }
        assert found == given  # in the proxy's order: as text
    assert required(before, after) is case["conntrack_cleanup_required"]
    local = {f"{ns}/{name}": count for (ns, name), count in local_ready(after, HERE).items()}
    assert local == case["local_ready"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_terminating_endpoints_do_not_count_for_health(when: str) -> None:
    rows = CHANGES["terminating"]
    key = PortKey("ns1", "svc1", "", "TCP")
    found = tuple(
        Endpoint(
            row["address"], 80, HERE, row["ready"], row.get("serving", row["ready"]), row.get("terminating", False)
        )
        for row in rows[when]
    )
    assert len(local_ready({key: found}, HERE)) == rows[f"services_with_local_ready_{when}"]


def test_a_tcp_change_of_a_service_with_a_udp_port_counts() -> None:
    tcp, udp = PortKey("a", "dns", "tcp", "TCP"), PortKey("a", "dns", "udp", "UDP")
    one, two = (Endpoint("10.0.0.1", 53),), (Endpoint("10.0.0.2", 53),)
    assert required({tcp: one, udp: one}, {tcp: two, udp: one})
    assert not required({tcp: one}, {tcp: two})
    assert not required({tcp: one, udp: one}, {tcp: one, udp: one})


def test_nothing_is_looked_for_when_no_endpoint_changed() -> None:
    case = CLEANUP[0]
    state, again = snapshot(case["objects"]), snapshot(case["objects"])
    entries = [entry(row, number) for number, row in enumerate(case["entries"])]
    assert CleanUp().stale(state, again, entries) == []
    assert len(CleanUp().stale(None, state, entries)) == 14


def test_an_entry_of_another_family_is_not_stale() -> None:
    """Its addresses are the same numbers."""
    case = CLEANUP[0]
    entries = [entry(row, number) for number, row in enumerate(case["entries"])]
    served = serving(snapshot(case["objects"]))
    by_address = [each for each in stale(served, entries) if each.orig[4] not in served.by_node_port]
    assert by_address
    for each in by_address:
        each.family = AF_INET6
    assert not {each.number for each in by_address} & {each.number for each in stale(served, entries)}


# -- releases ---------------------------------------------------------------------------------------

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"namespace": "default", "name": "dns"},
    "spec": {
        "type": "NodePort",
        "clusterIP": "10.96.0.10",
        "externalIPs": ["203.0.113.9"],
        "ports": [{"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353, "nodePort": 30053}],
    },
}
BY_ADDRESS = {"protocol": "UDP", "orig_dst": "10.96.0.10", "orig_dport": 53}
ENTRIES: dict[str, dict[str, Any]] = {
    "one": {**BY_ADDRESS, "reply_src": "10.244.1.2", "reply_sport": 5353},
    "two": {**BY_ADDRESS, "reply_src": "10.244.2.2", "reply_sport": 5353},
    "two, another port": {**BY_ADDRESS, "reply_src": "10.244.2.2", "reply_sport": 5354},
    "two, external": {**BY_ADDRESS, "orig_dst": "203.0.113.9", "reply_src": "10.244.2.2", "reply_sport": 5353},
    "two, node port": {
        **BY_ADDRESS, "orig_dst": "any", "orig_dport": 30053, "reply_src": "10.244.2.2", "reply_sport": 5353,
    },
    "not translated": {**BY_ADDRESS, "reply_src": "10.96.0.10", "reply_sport": 53},
    "tcp": {**BY_ADDRESS, "protocol": "TCP", "reply_src": "10.244.2.2", "reply_sport": 5353},
}  # fmt: skip
OF_TWO = {"two", "two, external", "two, node port"}
UDP_ENTRIES = {*ENTRIES} - {"tcp"}


def endpoint_slice(*addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": "dns-1", "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]} for address in addresses],
        "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}],
    }


BOTH, ONE, NONE, GONE = ("10.244.1.2", "10.244.2.2"), ("10.244.1.2",), (), None
RELEASES: list[tuple[str, tuple[str, ...] | None, tuple[str, ...] | None, dict[int, set[str]]]] = [
    # by minor: what is deleted. Up to 1.31 the address alone is compared, and what has no endpoint is no matter
    ("an endpoint goes", BOTH, ONE, {
        31: {*OF_TWO, "two, another port"},
        36: {*OF_TWO, "two, another port", "not translated"},
        38: {*OF_TWO, "two, another port", "not translated"},
    }),
    ("the last one goes", ONE, NONE, {31: {"one"}, 32: set(), 36: set(), 37: UDP_ENTRIES, 38: UDP_ENTRIES}),
    ("the first one comes", NONE, ONE, {31: UDP_ENTRIES, 36: UDP_ENTRIES - {"one"}, 37: UDP_ENTRIES - {"one"}}),
    # its endpoints go with it; up to 1.31 only the cluster address is looked for
    ("the Service goes", BOTH, GONE, {
        31: UDP_ENTRIES - {"two, external", "two, node port"}, 36: set(), 37: set(), 38: UDP_ENTRIES,
    }),
    ("nothing changes", BOTH, BOTH, {31: set(), 36: set(), 38: set()}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "minor", "expected"),
    [
        pytest.param(before, after, minor, expected, id=f"{name}, 1.{minor}")
        for name, before, after, by_minor in RELEASES
        for minor, expected in by_minor.items()
    ],
)
def test_what_each_release_deletes(
    before: tuple[str, ...] | None, after: tuple[str, ...] | None, minor: int, expected: set[str]
) -> None:
    old, new = (
        snapshot([] if addresses is None else [SERVICE, endpoint_slice(*addresses)]) for addresses in (before, after)
    )
    entries = [entry(row, number) for number, row in enumerate(ENTRIES.values())]
    names = [*ENTRIES]
    finder = clean_up((1, minor))
    assert {names[each.number] for each in finder.stale(old, new, entries)} == expected
    assert finder.needed(old, new) == (before != after)
