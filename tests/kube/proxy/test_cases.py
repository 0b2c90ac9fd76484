"""kube-proxy's own cases, run twice: first packets walked through our tables, with NAT's choice only recorded, and
through a whole node, with its hooks, connection tracking, NAT, and a proxy that syncs from step to step.

Every case that holds in iptables mode is run, whatever its basis.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emu.clock import SECOND
from emu.kernel.boot import address
from emu.kernel.netfilter.conn import DST_NAT, Conn
from emu.kernel.netfilter.hooks import HOOK_NAMES, Drop, HookState, Reject, Verdict
from emu.kernel.netfilter.nat_ports import MANIP_DST, NatRange
from emu.kernel.netfilter.ruleset import Rule
from emu.kernel.netfilter.targets.verdicts import Accept
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import convert
from emu.kube.api.meta import Object
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import compile as iptables
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import Frame
from emu.wire.rewrite import set_destination
from rules import EmptyTable, FakeNetns, packet
from service_node import NULL, PROTOCOLS, SYN, SYN_ACK, ServiceNode

CASES = sorted((Path(__file__).parents[2] / "data" / "kube-proxy" / "cases").glob("*.yaml"))
LOCALLY = ("node", "localhost", "lb-vip-on-node")
DRAWS = 40
MASQUERADED = 1 << 31


def config(settings: dict[str, Any], zone: str) -> ProxyConfig:
    return ProxyConfig(
        node_name=settings["nodeName"],
        node_ip=settings["nodeIP"],
        zone=zone,
        node_addresses=tuple(settings["nodeIPs"]),
        cluster_cidr=settings["clusterCIDR"],
        detect_local_mode=settings["detectLocalMode"],
        bridge_interface=settings.get("bridgeInterface", ""),
        masquerade_all=settings["masqueradeAll"],
        masquerade_bit=settings["masqueradeBit"],
        node_port_addresses=tuple(settings["nodePortAddresses"]),
        localhost_node_ports=settings["localhostNodePorts"],
        tcp_be_liberal=settings.get("conntrackTCPBeLiberal", False),
    )


class Walker:
    """One node with kube-proxy's rules."""

    def __init__(self, case: dict[str, Any], objects: list[Object]) -> None:
        settings = case["kube_proxy"]
        node = next(
            (each for each in objects if each.kind == "Node" and each.metadata.name == settings["nodeName"]), None
        )
        zone = node.metadata.labels.get("topology.kubernetes.io/zone", "") if node is not None else ""
        services = [each for each in objects if isinstance(each, Service)]
        slices = [each for each in objects if isinstance(each, EndpointSlice)]
        local = frozenset(ip4(ip) for ip in settings["nodeIPs"] if ":" not in ip)
        self.net = FakeNetns(local=local, shown={"eth0": ip4(settings["nodeIP"]), "cbr0": ip4("10.180.0.254")})
        self.net.tables.replace(iptables.compile(services, slices, config(settings, zone)))

    def first_packet(self, flow: dict[str, Any]) -> tuple[Verdict, Frame, bool, bool]:
        """The verdict, the frame as it is then, and whether it was DNATed and masqueraded."""
        locally = flow["from"] in LOCALLY
        if flow["from"] == "lb-vip-on-node":
            self.net.local |= {ip4(flow["src_ip"])}
        frame = packet(flow["src_ip"], flow["dst_ip"], PROTOCOLS[flow["protocol"]], dport=flow["dst_port"])
        frame.indev = packet(indev=flow.get("in_iface", "cbr0" if flow["from"] == "pod" else "eth0")).indev
        outdev = packet(outdev="eth0").outdev
        state = flow.get("ct_state", "NEW")
        if state != "INVALID":
            tuple5 = (frame.proto, frame.src, frame.dst, frame.sport, frame.dport)
            frame.ct = Conn(EmptyTable(), 1, tuple5, tuple5, 0)
            frame.ctinfo = 2 if state == "NEW" else 0
        if locally:
            frame.indev, frame.outdev = None, outdev
        verdict = self._hook("OUTPUT" if locally else "PREROUTING", frame, nat=state == "NEW")
        if verdict is None and self.net.addr_type(frame.dst) == "LOCAL":
            frame.indev, frame.outdev = frame.indev or outdev, None
            verdict = self._hook("INPUT", frame, nat=False)
        elif verdict is None and not locally:
            frame.outdev = outdev
            verdict = self._hook("FORWARD", frame, nat=False)
        if verdict is None:
            frame.outdev = outdev
            verdict = self._hook("POSTROUTING", frame, nat=state == "NEW")
        natted = frame.ct is not None and bool(frame.ct.status & DST_NAT)
        masqueraded = bool(frame.mark & MASQUERADED)
        frame.mark &= ~MASQUERADED
        return verdict, frame, natted, masqueraded

    def _hook(self, name: str, frame: Frame, *, nat: bool) -> Verdict:
        chain = self.net.tables.nat_chain(HOOK_NAMES.index(name)) if nat else None
        verdict = None if chain is None else chain(frame, self.net.state(name))
        return self.net.run(name, frame) if verdict is None else verdict


class NodeWalker:
    """A whole node, from step to step."""

    def __init__(self, case: dict[str, Any]) -> None:
        settings = case["kube_proxy"]
        nodes = [each for each in objects(case["objects"]) if each.kind == "Node"]
        node = next((each for each in nodes if each.metadata.name == settings["nodeName"]), None)
        zone = node.metadata.labels.get("topology.kubernetes.io/zone", "") if node is not None else ""
        sysctls = {"net.netfilter.nf_conntrack_tcp_be_liberal": 1} if settings.get("conntrackTCPBeLiberal") else {}
        self.net_of = ServiceNode(config(settings, zone), [ip for ip in settings["nodeIPs"] if ":" not in ip], sysctls)
        self.net = self.net_of.net

    def first_packet(self, flow: dict[str, Any]) -> tuple[Verdict, Frame, bool, bool]:
        node, src, dst = self.net_of, flow["src_ip"], flow["dst_ip"]
        if flow["from"] == "lb-vip-on-node" and not node.net.ipv4.is_local(ip4(src)):
            address(node.net, "lo", f"{src}/32")
        indev = None if flow["from"] in LOCALLY else flow.get("in_iface", "cbr0" if flow["from"] == "pod" else "eth0")
        flags, sport = SYN, 0
        if flow.get("ct_state") == "INVALID":
            flags = NULL
        elif flow.get("ct_state") == "ESTABLISHED":
            flags, sport = SYN_ACK, 4321
            assert node.send(dst, src, sport, flow["protocol"], indev="cbr0", sport=flow["dst_port"])[0] is None
        verdict, frame = node.send(src, dst, flow["dst_port"], flow["protocol"], indev=indev, sport=sport, flags=flags)
        natted = frame.ct is not None and bool(frame.ct.status & DST_NAT)
        return verdict, frame, natted, frame.ct is not None and bool(frame.ct.masq_ifindex)


@pytest.fixture
def recorded_nat(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNAT goes at once to the lowest address of the range; MASQUERADE only leaves a sign."""

    def setup(frame: Frame, state: HookState, manip: int, span: NatRange) -> Verdict:
        assert manip == MANIP_DST
        set_destination(frame, span.min_addr, span.min_port or frame.dport)
        frame.dport = span.min_port or frame.dport
        frame.ct.status |= DST_NAT
        return None

    def masquerade(frame: Frame, state: HookState, span: NatRange) -> Verdict:
        frame.mark |= MASQUERADED
        return None

    monkeypatch.setattr("emu.kernel.netfilter.targets.nat.setup", setup)
    monkeypatch.setattr("emu.kernel.netfilter.targets.masquerade.masquerade", masquerade)


def check(walker: Walker | NodeWalker, flow: dict[str, Any], seen: dict[str, set[str]]) -> None:
    expect = flow["expect"]
    where = f"{flow['name']}: "
    walker.net.clock.now += flow.get("after_seconds", 1) * SECOND
    sticky = flow.get("sticky", False)
    reached: set[str] = set()
    for _ in range(flow.get("repeat", DRAWS)):
        verdict, frame, natted, masqueraded = walker.first_packet(flow)
        endpoint = f"{ip4_text(frame.dst)}:{frame.dport}" if natted else ""
        if "endpoints" in expect:
            assert natted, where + "not DNATed"
            assert verdict is None, where + repr(verdict)
            assert endpoint in expect["endpoints"], where + endpoint
            reached.add(endpoint)
            wanted = flow.get("masquerade_by_endpoint", {}).get(endpoint, expect["masquerade"])
            assert masqueraded is wanted, f"{where}{endpoint} masqueraded: {masqueraded}"
            assert not frame.mark, where + "the mark stays"
            continue
        rules = [each for each in frame.trail or [] if isinstance(each, Rule)]
        accepted = verdict is None and bool(rules) and any(isinstance(each.target, Accept) for each in rules)
        verdict_word = {Drop: "drop", Reject: "reject", type(None): "accept" if accepted else "none"}[type(verdict)]
        assert (verdict_word, natted) == (expect["verdict"], False), where + str(rules)
        assert masqueraded is expect["masquerade"], where
    if sticky:
        assert len(reached) == 1, where + "not sticky"
        assert reached == seen.get(flow.get("sticky_with", ""), reached), where
    elif "after_seconds" not in flow and "endpoints" in expect:
        assert reached == set(expect["endpoints"]), where + "never reached"
    seen[flow["name"]] = reached


def objects(manifests: list[dict[str, Any]]) -> Iterator[Object]:
    for manifest in manifests:
        yield from convert(manifest)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_packets_go_where_kube_proxy_sends_them(path: Path, recorded_nat: None) -> None:
    run(path, whole=False)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_they_do_so_on_a_whole_node(path: Path) -> None:
    run(path, whole=True)


def run(path: Path, *, whole: bool) -> None:
    case = yaml.load(path.read_text(), yaml.CSafeLoader)
    assert "iptables" in case["modes"]
    known = {_key(each): each for each in objects(case["objects"])}
    walked = 0
    node = NodeWalker(case) if whole else None
    for step in [case, *case.get("then", [])]:
        if step is not case:
            for gone in step.get("delete", []):
                del known[gone["kind"], gone["namespace"], gone["name"]]
            known |= {_key(each): each for each in objects(step.get("apply", []))}
        if node is not None:
            node.net_of.update(known.values())
        walker = node or Walker(case, list(known.values()))
        seen: dict[str, set[str]] = {}
        for flow in step.get("flows", []):
            if "iptables" in flow.get("modes", case["modes"]) and ":" not in flow["dst_ip"]:
                check(walker, flow, seen)
                walked += 1
    assert walked


def _key(each: Object) -> tuple[str, str, str]:
    return each.kind, each.metadata.namespace, each.metadata.name


def test_there_are_cases() -> None:
    assert len(CASES) == 29
