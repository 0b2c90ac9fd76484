"""What a bridge with VLAN filtering has learned, as `bridge fdb show` lists it: one MAC may be behind a port in each VLAN."""

from __future__ import annotations

from emu.kernel import boot
from emu.lab import Lab
from emu.report.fdb import fdb

MAC = "02:00:00:00:01:00"
FRAME = bytes.fromhex("ffffffffffff 020000000100 0806") + bytes(46)


def test_each_vlan_has_its_own_entry() -> None:
    lab = Lab()
    node, pod = lab.host("node"), lab.host("pod")
    bridge = boot.bridge(node, "br0", "02:00:00:00:00:cc")
    bridge.vlan_filtering = True
    port = bridge.add_port(boot.veth(node, "p0", pod, "eth0", "02:00:00:00:03:00", MAC)[0])
    port.vlans.add(5)
    for frame in (FRAME, FRAME[:12] + bytes.fromhex("81000005") + FRAME[12:]):
        pod.sockets.send_packet(frame, device="eth0")
    lab.clock.drain()
    learned = [line for line in fdb(node).text.splitlines() if line.startswith(MAC)]
    assert learned == [f"{MAC} dev p0 vlan 1 master br0", f"{MAC} dev p0 vlan 5 master br0"]
    assert [row["vlan"] for row in fdb(node).data if row["mac"] == MAC] == [1, 5]
