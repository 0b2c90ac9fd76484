"""What the stories of flannel and kindnet show, read off their frames, and off their captures by tshark."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from emu.capture.capture import Captured
from emu.errors import InputError
from emu.report import views
from emu.scenario.gallery import story
from emu.scenario.run import Run, run
from emu.scenario.script import load_text
from emu.wire.frame import UDP, Frame
from emu.wire.summary import read
from tshark import Tshark

OUTER = "192.168.51.11>192.168.52.12 "


@cache
def ran(name: str) -> Run:
    return run(story(name))


def frames(name: str, flow: int, interface: str, direction: str = "") -> list[Captured]:
    found = ran(name).cluster.flows[flow].frames
    return [each for each in found if each.interface == interface and each.direction.startswith(direction)]


def lines(name: str, flow: int, interface: str, part: str) -> list[str]:
    return [line for line in (each.line() for each in frames(name, flow, interface)) if part in line]


def test_the_underlay_sees_no_pod() -> None:
    for flow in (1, 2, 3, 4):
        for port in ("underlay/port1", "underlay/port2"):
            seen = [read(each.data) for each in frames("flannel-vxlan", flow, port)]
            packets = [each for each in seen if each.kind == "IPv4"]
            assert packets and {each.proto for each in packets} == {UDP}
            assert {each.dport for each in packets} == {8472}


def test_the_overlay_has_no_arp_and_the_nodes_macs() -> None:
    net = ran("flannel-vxlan").cluster.nodes["node-1"].net
    ((_, theirs),) = [(each.addr, each.lladdr) for each in net.neighbours if each.device.name == "flannel.1"]
    sent = frames("flannel-vxlan", 1, "node-1/flannel.1", "out")
    assert [(each.data[:6], each.data[6:12]) for each in sent] == [(theirs, net.device("flannel.1").mac)]
    text = views["fdb"](net).text
    assert f"{theirs.hex(':')} dev flannel.1 dst 192.168.52.12 self permanent" in text


def test_the_longest_packet_fits_exactly() -> None:
    (inner,) = frames("flannel-vxlan", 3, "node-1/flannel.1", "out")
    (outer,) = frames("flannel-vxlan", 3, "node-1/eth0", "out")
    assert (Frame.parse(inner.data).tot_len, Frame.parse(outer.data).tot_len) == (1450, 1500)
    assert "size 1450 bytes of IP in 1500, mtu 1500" in outer.comment()
    assert "vxlan flannel.1: vni 1, 192.168.51.11 -> 192.168.52.12" in outer.comment()
    (plain,) = frames("flannel-host-gw", 3, "node-1/eth0", "out")
    assert Frame.parse(plain.data).tot_len == 1500


def test_no_line_of_a_comment_states_that_an_outer_packet_was_routed_before() -> None:
    for each in frames("flannel-vxlan", 1, "node-1/eth0", "out"):
        assert "ttl " not in each.comment()


def test_wireshark_decodes_both_headers(tmp_path: Path, tshark: Tshark) -> None:
    cluster = ran("flannel-vxlan").cluster
    assert cluster.capture is not None
    file = tmp_path / "all.pcapng"
    cluster.capture.write(file)
    where = 'vxlan && icmp.type == 8 && frame.interface_name == "node-1/eth0"'
    names = ("ip.src", "ip.dst", "vxlan.vni", "udp.dstport", "ip.ttl", "udp.checksum.status")
    first, *_ = tshark.read(file, *names, where=where, options=["-d", "udp.port==8472,vxlan"])
    assert first == {
        "ip.src": ["192.168.51.11", "10.244.1.2"],
        "ip.dst": ["192.168.52.12", "10.244.2.2"],
        "vxlan.vni": ["1"],
        "udp.dstport": ["8472"],
        "ip.ttl": ["64", "63"],
        "udp.checksum.status": ["1"],
    }


def test_host_gw_asks_for_the_other_nodes_mac() -> None:
    assert lines("flannel-host-gw", 1, "node-1/eth0", "who-has 192.168.50.12 ")
    assert not lines("flannel-host-gw", 1, "node-1/eth0", "who-has 192.168.50.1 ")
    assert lines("flannel-host-gw", 1, "default/web/eth0", "10.244.1.2>10.244.2.2 ttl62")


def test_every_pair_of_kindnet_answers_for_the_gateway_with_its_own_mac() -> None:
    net = ran("kindnet").cluster.nodes["node-1"].net
    pairs = [device for device in net.devices.values() if device.name.startswith("veth")]
    assert len({pair.mac for pair in pairs}) == 2
    (answer,) = frames("kindnet", 1, "default/client/eth0", "in")[:1]
    assert read(answer.data).sha == pairs[0].mac
    assert lines("kindnet", 1, "default/near/eth0", "10.244.1.2>10.244.1.3 ttl63")
    assert lines("kindnet", 2, "default/web/eth0", "10.244.1.2>10.244.2.2 ttl62")


def test_the_error_saves_the_connection_until_it_is_filtered() -> None:
    name = "vxlan-pod-mtu"
    assert not frames(name, 1, "node-1/drop")
    assert lines(name, 2, "default/other/eth0", "ICMP fragmentation needed mtu=1450")
    assert lines(name, 2, "node-1/drop", "len=1448")
    assert not lines(name, 3, "default/client/eth0", "ICMP")
    assert len(lines(name, 3, "node-1/drop", "len=1448")) > 2
    assert not frames(name, 4, "node-1/drop")
    longest = max(
        Frame.parse(each.data).tot_len
        for each in frames(name, 4, "default/third/eth0")
        if read(each.data).kind == "IPv4"
    )
    assert longest == 1450


# -- the expectation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "wanted", "failure"),
    [
        ("flannel", "vxlan 192.168.51.11 -> 192.168.52.12", ""),
        ("flannel", "vxlan 192.168.52.12 -> *", ""),
        ("flannel", "none", "tunnel is vxlan 192.168.51.11 -> 192.168.52.12, vxlan 192.168.52.12 -> 192.168.51.11, expected none"),
        ("flannel", "ipip *", 'expected "ipip *"'),
        ("bridge", "none", ""),
        ("bridge", "vxlan *", 'tunnel is none, expected "vxlan *"'),
    ],
)  # fmt: skip
def test_a_tunnel_can_be_expected(network: str, wanted: str, failure: str) -> None:
    text = f"""
apiVersion: emu/v1
kind: Scenario
cluster: {{network: {network}}}
steps:
- ping: {{from: default/a, to: default/b}}
  expect: {{tunnel: "{wanted}"}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{nodeName: node-1, containers: [{{name: c}}]}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: b}}, spec: {{nodeName: node-2, containers: [{{name: c}}]}}}}
"""
    failures = run(load_text(text)).failures
    assert len(failures) == bool(failure)
    assert all(failure in each for each in failures)
    with pytest.raises(InputError, match="without its"):
        load_text(text.replace(wanted, "vxlan ["))
