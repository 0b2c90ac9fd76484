"""The bridge plugin on emulated namespaces: what it wires, what is on the wire meanwhile, and how it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from emu.clock import SECOND, Clock
from emu.errors import EmuError, Undecided
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import OUT
from emu.kernel.link.veth import Veth
from emu.kernel.net import link_change
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.ip_masq import chain_name, masquerade_rules
from emu.kube.cni.plugins.bridge import BridgeConf, layer3
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import IP, Attachment, CniError, Config, Host, Result, Route
from emu.wire.addr import ip4, mac_text

IPAM: Config = {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}


class Machine:
    """A node, and attachments of its containers to one network of the bridge plugin with `keys`."""

    def __init__(self, seed: int = 1, **keys: Any) -> None:
        plugin = {"type": "bridge", "isGateway": True, "ipam": IPAM, **keys}
        self.network = NetworkConfigList.from_json({"name": "kbr", "cniVersion": "1.0.0", "plugins": [plugin]})
        self.clock = Clock(seed)
        self.node = boot.namespace(self.clock, "node")
        self.host, self.runtime = Host(self.node), Runtime()
        self.containers: Iterator[int] = count()

    def container(self, args: str = "") -> Attachment:
        number = next(self.containers)
        return Attachment(f"c{number}", boot.namespace(self.clock, f"pod{number}"), "eth0", self.host, args)

    def add(self, attachment: Attachment | None = None, **capabilities: Any) -> tuple[Attachment, Result]:
        attachment = attachment or self.container()
        return attachment, self.runtime.add(self.network, attachment, capabilities)

    @property
    def bridge(self) -> Bridge:
        device = self.node.device("cni0")
        assert isinstance(device, Bridge)
        return device

    def ping(self, source: Attachment, target: str) -> bool:
        assert source.netns is not None
        socket = source.netns.sockets.ping()
        socket.send(target, 1)
        self.clock.run(limit_ns=self.clock.now + SECOND)
        socket.close()
        return len(socket.replies) == 1


def nat(machine: Machine) -> list[str]:
    return [line for line in machine.node.ipv4.tables.save().splitlines() if line.startswith(("-A", ":CNI"))]


def test_what_is_there_after_add() -> None:
    machine = Machine()
    attachment, result = machine.add()
    pod, node = attachment.netns, machine.node
    assert pod is not None
    eth0 = pod.device("eth0")
    assert isinstance(eth0, Veth)
    assert eth0.peer is not None
    assert eth0.peer.name.startswith("veth")
    assert len(eth0.peer.name) == len("veth") + 8
    assert result.to_json("1.0.0") == {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "cni0", "mac": mac_text(machine.bridge.mac)},
            {"name": eth0.peer.name, "mac": mac_text(eth0.peer.mac)},
            {"name": "eth0", "mac": mac_text(eth0.mac), "sandbox": "/var/run/netns/pod0"},
        ],
        "ips": [{"address": "10.244.1.2/24", "gateway": "10.244.1.1", "interface": 2}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    assert all(device.mac[0] & 3 == 2 for device in (eth0, eth0.peer, machine.bridge))
    assert [route.text() for route in pod.ipv4.fib.main] == [
        "default via 10.244.1.1 dev eth0",
        "10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.2",
    ]
    assert [route.text() for route in node.ipv4.fib.main] == [
        "10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1"
    ]
    assert node.sysctl.number("net.ipv4.ip_forward") == 1
    assert pod.sysctl.conf("eth0", "arp_notify") == 1
    port = machine.bridge.port(eth0.peer.name)
    assert (port.forwarding, port.hairpin, port.isolated) == (True, False, False)


def test_two_containers_reach_each_other_and_the_gateway() -> None:
    machine = Machine()
    one, _ = machine.add()
    machine.add()
    assert machine.ping(one, "10.244.1.3")
    assert machine.ping(one, "10.244.1.1")
    assert not machine.ping(one, "10.244.1.4")


def test_the_announcement_leaves_the_container_and_dies_at_the_port() -> None:
    machine = Machine()
    attachment = machine.container()
    seen: list[tuple[str, int, bytes]] = []

    def watch(device: Any) -> None:
        device.tap = lambda frame, direction: seen.append((device.name, direction, bytes(frame.buf)))

    assert attachment.netns is not None
    attachment.netns.on_device(watch)
    machine.node.on_device(watch)
    machine.add(attachment)
    (left, direction, frame), (arrived, came, same) = seen
    assert (left, direction, came) == ("eth0", OUT, 0)
    assert arrived.startswith("veth")
    assert frame == same
    eth0 = attachment.netns.device("eth0")
    sender = eth0.mac + ip4("10.244.1.2").to_bytes(4, "big")
    assert frame[:14] == b"\xff" * 6 + eth0.mac + b"\x08\x06"
    assert frame[20:42] == b"\0\1" + sender + bytes(6) + ip4("10.244.1.2").to_bytes(4, "big")
    assert machine.node.drops == Counter({"BRIDGE_INGRESS_STP_STATE": 1})
    assert list(machine.bridge.learned()) == []


def test_del_takes_the_pair_and_the_address_and_leaves_the_bridge() -> None:
    machine = Machine()
    attachment, _ = machine.add()
    neighbour, _ = machine.add()
    machine.runtime.delete(machine.network, attachment)
    assert attachment.netns is not None
    assert list(attachment.netns.devices) == ["lo"]
    assert len(machine.bridge.ports) == 1
    assert [str(each) for each in machine.node.ipv4.addresses] == ["127.0.0.1/8", "10.244.1.1/24"]
    machine.runtime.delete(machine.network, attachment)
    # round robin: .2 is free, and not the next
    assert machine.add()[1].ips[0].address == "10.244.1.4/24"
    assert machine.ping(neighbour, "10.244.1.1")


def test_layer_2_only() -> None:
    machine = Machine(isGateway=False, ipam={})
    attachment, result = machine.add()
    assert result.ips == ()
    assert attachment.netns is not None
    assert attachment.netns.device("eth0").up
    assert [str(each) for each in machine.node.ipv4.addresses] == ["127.0.0.1/8"]
    with pytest.raises(CniError, match="no plugin name provided"):  # the real plugin asks its IPAM in any case
        machine.runtime.check(machine.network, attachment)


def test_without_a_default_route_a_container_reaches_its_subnet_only() -> None:
    machine = Machine(ipam={**IPAM, "routes": []})
    boot.bridge(machine.node, "out", "02:00:00:00:00:99")
    boot.address(machine.node, "out", "192.168.9.1/24")
    attachment, _ = machine.add()
    assert machine.ping(attachment, "10.244.1.1")
    with pytest.raises(EmuError, match="unreachable"):
        machine.ping(attachment, "192.168.9.1")


def test_is_default_gateway_adds_the_route() -> None:
    machine = Machine(isGateway=False, isDefaultGateway=True, ipam={**IPAM, "routes": []})
    attachment, result = machine.add()
    assert result.routes == (Route("0.0.0.0/0", "10.244.1.1"),)
    assert attachment.netns is not None
    assert next(iter(attachment.netns.ipv4.fib.main)).text() == "default via 10.244.1.1 dev eth0"
    assert machine.node.sysctl.number("net.ipv4.ip_forward") == 1


def test_is_default_gateway_and_a_default_route_of_the_ipam_clash() -> None:
    machine = Machine(isDefaultGateway=True)
    with pytest.raises(CniError, match=r"failed to add route .* via 10\.244\.1\.1 dev eth0': file exists"):
        machine.add()
    # the address went back, the pair is gone
    assert machine.host.disk["host-local", "/var/lib/cni/networks", "kbr"].owner_of == {}
    assert machine.bridge.ports == []


@pytest.mark.parametrize(
    ("keys", "ipam", "ips", "routes", "gateways"),
    [
        ({}, Result(ips=(IP("10.1.0.5/16"),)), (IP("10.1.0.5/16", "", 2),), (), ()),
        (
            {"isGateway": True},
            Result(ips=(IP("10.1.0.5/16"),)),
            (IP("10.1.0.5/16", "10.1.0.1", 2),),
            (),
            ("10.1.0.1/16",),
        ),
        (
            {"isGateway": True, "isDefaultGateway": True},
            Result(ips=(IP("10.1.0.5/16", "10.1.0.9"),), routes=(Route("0.0.0.0/0", "10.1.0.7"),)),
            (IP("10.1.0.5/16", "10.1.0.9", 2),),
            (Route("0.0.0.0/0", "10.1.0.7"),),
            ("10.1.0.9/16",),
        ),
        (
            {"isGateway": True, "isDefaultGateway": True},
            Result(ips=(IP("10.1.0.5/16"), IP("10.2.0.5/16")), routes=(Route("10.9.0.0/16"),)),
            (IP("10.1.0.5/16", "10.1.0.1", 2), IP("10.2.0.5/16", "10.2.0.1", 2)),
            (Route("10.9.0.0/16"), Route("0.0.0.0/0", "10.1.0.1")),
            ("10.1.0.1/16", "10.2.0.1/16"),
        ),
    ],
)
def test_gateways_are_computed(keys: Config, ipam: Result, ips: Any, routes: Any, gateways: Any) -> None:
    conf = BridgeConf(
        "n", is_gateway=keys.get("isGateway", False), is_default_gateway=keys.get("isDefaultGateway", False)
    )
    wiring = layer3(conf, ipam)
    assert (wiring.ips, wiring.routes, wiring.gateways) == (ips, routes, gateways)


def test_another_address_on_the_bridge() -> None:
    machine = Machine()
    boot.address(machine.node, boot.bridge(machine.node, "cni0", "02:00:00:00:00:01"), "10.9.0.1/24")
    text = 'failed to set bridge addr: "cni0" already has an IP address different from 10.244.1.1/24'
    with pytest.raises(CniError, match=text):
        machine.add()
    forced = Machine(forceAddress=True)
    boot.address(forced.node, boot.bridge(forced.node, "cni0", "02:00:00:00:00:01"), "10.9.0.1/24")
    _, result = forced.add()
    assert [str(each) for each in forced.node.ipv4.addresses] == ["127.0.0.1/8", "10.244.1.1/24"]
    # that bridge's MAC was set by a user
    assert result.interfaces[0].mac == "02:00:00:00:00:01"


def test_hairpin_isolation_promiscuity_and_mtu() -> None:
    machine = Machine(hairpinMode=True, portIsolation=True, mtu=1450)
    attachment, _ = machine.add()
    (port,) = machine.bridge.ports
    assert (port.hairpin, port.isolated) == (True, True)
    assert attachment.netns is not None
    assert {machine.bridge.mtu, port.device.mtu, attachment.netns.device("eth0").mtu} == {1450}
    promiscuous = Machine(promiscMode=True)
    promiscuous.add()
    promiscuous.add()
    assert promiscuous.bridge.promisc
    both = Machine(promiscMode=True, hairpinMode=True)
    with pytest.raises(CniError, match="cannot set hairpin mode and promiscuous mode at the same time"):
        both.add()


@pytest.mark.parametrize(
    ("env", "config", "capability", "mac"),
    [
        ("", "", "", ""),
        ("02:00:00:00:00:01", "", "", "02:00:00:00:00:01"),
        ("02:00:00:00:00:01", "02:00:00:00:00:02", "", "02:00:00:00:00:02"),
        ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:03"),
    ],
)
def test_who_may_give_the_mac(env: str, config: str, capability: str, mac: str) -> None:
    machine = Machine(capabilities={"mac": True}, args={"cni": {"mac": config}})
    args = f"IgnoreUnknown=1;K8S_POD_NAME=a;MAC={env}" if env else ""
    _, result = machine.add(machine.container(args), **({"mac": capability} if capability else {}))
    assert result.interfaces[2].mac == mac if mac else result.interfaces[2].mac != ""


def test_a_mac_that_is_none() -> None:
    with pytest.raises(CniError, match="address bogus: invalid MAC address"):
        Machine(args={"cni": {"mac": "bogus"}}).add()


@pytest.mark.parametrize("keys", [{"ipMasq": True, "ipMasqBackend": "nftables"}])
def test_keys_that_are_not_modelled_are_undecided(keys: Config) -> None:
    with pytest.raises(Undecided, match="is not modelled"):
        Machine(**keys).add()


def test_a_bridge_that_is_none_and_keys_that_exclude_each_other() -> None:
    with pytest.raises(CniError, match='"lo" already exists but is not a bridge'):
        Machine(bridge="lo").add()
    with pytest.raises(CniError, match="cannot use IPAM when DisableContainerInterface flag is set"):
        Machine(disableContainerInterface=True).add()
    machine = Machine(disableContainerInterface=True, isGateway=False, ipam={})
    attachment, _ = machine.add()
    assert attachment.netns is not None
    assert not attachment.netns.device("eth0").up
    assert not machine.bridge.ports[0].forwarding


def test_exhaustion_leaves_nothing_behind() -> None:
    machine = Machine(ipam={"type": "host-local", "subnet": "10.0.0.0/30"})
    first, _ = machine.add()
    with pytest.raises(CniError) as caught:
        machine.add()
    assert caught.value.msg == (
        'plugin type="bridge" failed (add): failed to allocate for range 0: '
        "no IP addresses available in range set: 10.0.0.1-10.0.0.2"
    )
    assert len(machine.bridge.ports) == 1
    machine.runtime.delete(machine.network, first)
    assert machine.add()[1].ips[0].address == "10.0.0.2/30"


def test_check_finds_what_is_missing() -> None:
    def broken(change: Any) -> str:
        machine = Machine()
        attachment, _ = machine.add()
        machine.runtime.check(machine.network, attachment)
        change(machine, attachment.netns)
        with pytest.raises(CniError) as caught:
            machine.runtime.check(machine.network, attachment)
        assert caught.value.code == 999
        return caught.value.msg

    def without_address(machine: Machine, pod: Any) -> None:
        pod.ipv4.remove_address(next(each for each in pod.ipv4.addresses if each.device.name == "eth0"))

    def without_route(machine: Machine, pod: Any) -> None:
        pod.ipv4.fib.remove(next(iter(pod.ipv4.fib.main)))

    def without_subnet(machine: Machine, pod: Any) -> None:
        pod.ipv4.fib.remove(list(pod.ipv4.fib.main)[1])

    def other_mac(machine: Machine, pod: Any) -> None:
        pod.device("eth0").mac = b"\2\0\0\0\0\1"

    def without_master(machine: Machine, pod: Any) -> None:
        machine.bridge.remove_port(machine.bridge.ports[0].device)

    def without_lease(machine: Machine, pod: Any) -> None:
        machine.host.disk["host-local", "/var/lib/cni/networks", "kbr"].release(("c0", "eth0"))

    assert broken(without_address) == "Failed to match addr 10.244.1.2/24 on interface eth0"
    assert broken(without_route) == (
        "Expected Route {Dst:{IP:0.0.0.0 Mask:00000000} GW:<nil> MTU:0 AdvMSS:0 Priority:0 Table:<nil> Scope:<nil>} "
        "not found in routing table"
    )
    assert broken(without_subnet) == "Failed to find Gateway 10.244.1.1 for interface eth0"
    assert "02:00:00:00:00:01" in broken(other_mac)
    assert broken(without_master) == "CNI veth created for bridge cni0 was not found"
    assert broken(without_lease) == "host-local: Failed to find address added by container c0"
    assert broken(lambda machine, pod: pod.detach(pod.device("eth0"))) == "Interface name eth0 not found"
    assert broken(lambda machine, pod: machine.node.detach(machine.bridge)) == "Interface name cni0 not found"


def test_masquerade_rules_as_text() -> None:
    chain = chain_name("kbr", "c0")
    assert len(chain) == 28
    assert chain_name("kbr", "c1") != chain
    machine = Machine(ipMasq=True)
    attachment, _ = machine.add()
    comment = r'-m comment --comment "name: \"kbr\" id: \"c0\""'
    assert nat(machine) == [
        f":{chain} - [0:0]",
        f"-A POSTROUTING -s 10.244.1.2/32 {comment} -j {chain}",
        f"-A {chain} -d 10.244.1.0/24 {comment} -j ACCEPT",
        f"-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE",
    ]
    assert masquerade_rules("kbr", "c0", [IP("10.244.1.2/24")]).startswith(f"*nat\n:{chain} - [0:0]\n")
    machine.runtime.delete(machine.network, attachment)
    assert nat(machine) == []


def test_masquerade_rules_leak_where_the_link_is_gone() -> None:
    machine = Machine(ipMasq=True)
    attachment, _ = machine.add()
    kept, _ = machine.add()
    machine.runtime.delete(machine.network, replace(attachment, netns=None))
    machine.runtime.delete(machine.network, kept)
    assert [line for line in nat(machine) if line.startswith(":")] == [f":{chain_name('kbr', 'c0')} - [0:0]"]
    assert machine.host.disk["host-local", "/var/lib/cni/networks", "kbr"].owner_of == {}


def test_who_is_masqueraded() -> None:
    machine = Machine(ipMasq=True)
    one, _ = machine.add()
    two, _ = machine.add()
    outside = boot.namespace(machine.clock, "outside")
    boot.veth(machine.node, "eth0", outside, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    boot.address(machine.node, "eth0", "192.168.9.1/24")
    boot.address(outside, "eth0", "192.168.9.2/24")
    assert machine.ping(one, "192.168.9.2")
    assert machine.ping(one, "10.244.1.3")
    sources = {(conn.orig[2], conn.reply[2]) for conn in machine.node.conntrack}
    assert (ip4("192.168.9.2"), ip4("192.168.9.1")) in sources
    assert two.netns is not None
    assert {entry.addr for entry in two.netns.neighbours} == {ip4("10.244.1.2")}


def test_the_same_seed_gives_the_same_names() -> None:
    def names(seed: int) -> list[str]:
        machine = Machine(seed)
        return [each.name + each.mac for _ in range(3) for each in machine.add()[1].interfaces]

    assert names(7) == names(7)
    assert names(7) != names(8)


# -- VLANs and source MACs --------------------------------------------------------------------------------------------


def vlans(machine: Machine) -> dict[str, list[str]]:
    """By port: what `bridge vlan show` lists. Ports have drawn names, so that they are numbered."""
    ports = reversed(machine.bridge.ports)
    return {f"port{number}": list(port.vlans.lines()) for number, port in enumerate(ports)}


def test_a_pod_in_a_vlan_has_an_access_port() -> None:
    """As today's source has it: the default VLAN goes, unless preserveDefaultVlan is true."""
    machine = Machine(vlan=5)
    machine.add()
    assert machine.bridge.vlan_filtering
    # the second port is that of the VLAN's gateway
    assert vlans(machine) == {"port0": ["5 PVID Egress Untagged"], "port1": ["5 PVID Egress Untagged"]}
    assert list(machine.bridge.vlan_group.lines()) == ["1 PVID Egress Untagged"]
    assert [str(each) for each in machine.node.ipv4.addresses if each.device.name == "cni0.5"] == ["10.244.1.1/24"]
    kept = Machine(vlan=5, preserveDefaultVlan=True)
    kept.add()
    assert vlans(kept)["port0"] == ["1 Egress Untagged", "5 PVID Egress Untagged"]


def test_a_trunk_takes_tags_and_its_native_vlan() -> None:
    machine = Machine(vlanTrunk=[{"minID": 10, "maxID": 12}, {"id": 100}, {"id": 11}])
    machine.add()
    tagged = ["10", "11", "12", "100"]
    assert vlans(machine)["port0"] == ["1 PVID Egress Untagged", *tagged]
    native = Machine(vlan=5, vlanTrunk=[{"id": 100}])
    native.add()
    assert vlans(native)["port0"] == ["5 PVID Egress Untagged", "100"]
    empty = Machine(vlanTrunk=[])
    empty.add()
    assert empty.bridge.vlan_filtering and vlans(empty)["port0"] == ["1 PVID Egress Untagged"]


@pytest.mark.parametrize(
    ("trunk", "words"),
    [
        ({"minID": 0, "maxID": 5}, "incorrect trunk minID parameter"),
        ({"minID": 1, "maxID": 4095}, "incorrect trunk maxID parameter"),
        ({"minID": 6, "maxID": 5}, "minID is greater than maxID in trunk parameter"),
        ({"maxID": 5}, "minID and maxID should be configured simultaneously, minID is missing"),
        ({"minID": 5}, "minID and maxID should be configured simultaneously, maxID is missing"),
        ({"id": 4095}, "incorrect trunk id parameter"),
        ({"id": 0}, "incorrect trunk id parameter"),
    ],
)
def test_a_trunk_that_cannot_be(trunk: Config, words: str) -> None:
    with pytest.raises(CniError, match=words):
        Machine(vlanTrunk=[trunk]).add()


def test_pods_of_one_vlan_reach_each_other_and_their_gateway_alone() -> None:
    machine = Machine(vlan=5)
    one, _ = machine.add()
    machine.add()
    machine.network = replace(machine.network, plugins=({**machine.network.plugins[0], "vlan": 6, "ipam": {
        "type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.9"}]], "dataDir": "/b",
    }, "isGateway": False},))  # fmt: skip
    other, _ = machine.add()
    assert machine.ping(one, "10.244.1.3")
    assert machine.ping(one, "10.244.1.1")
    assert not machine.ping(one, "10.244.1.9")
    assert not machine.ping(other, "10.244.1.1")


def test_another_source_mac_is_dropped_at_the_port_by_name() -> None:
    machine = Machine(macspoofchk=True)
    one, _ = machine.add()
    machine.add()
    pod = one.netns
    assert pod is not None
    assert machine.ping(one, "10.244.1.3")
    dropped: list[tuple[str, str]] = []
    machine.node.drop_listeners.append(lambda frame, fact: dropped.append((fact.reason, str(fact.by))))
    link_change.set_mac(pod, pod.device("eth0"), bytes((2, 0, 0, 0, 9, 9)))
    assert not machine.ping(one, "10.244.1.1")
    assert dropped and {reason for reason, _ in dropped} == {"NETFILTER_DROP"}
    assert dropped[0][1].startswith("table bridge nat, chain cni-br-iface-c0-eth0-mac: only ")
    machine.runtime.delete(machine.network, one)
    sources = machine.node.bridge_hooks.sources
    assert sources is not None and sorted(sources.chains) == ["c1-eth0"]


def test_isolated_ports_reach_the_gateway_alone() -> None:
    machine = Machine(portIsolation=True)
    one, _ = machine.add()
    machine.add()
    assert machine.ping(one, "10.244.1.1")
    assert not machine.ping(one, "10.244.1.3")


def test_a_disabled_interface_stays_down() -> None:
    machine = Machine(disableContainerInterface=True, ipam={})
    one, result = machine.add()
    assert one.netns is not None and not one.netns.device("eth0").up
    assert result.ips == () and len(result.interfaces) == 3
