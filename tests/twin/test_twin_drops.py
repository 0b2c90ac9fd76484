"""The kernel's drop monitor shows each dropped packet with its reason, and a kernel without one is reported as not judged."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from emu.scenario.script import load_text
from emu.twin import judge
from emu.twin.btf import layout
from emu.twin.drop_monitor import DropMonitor, NoMonitor
from emu.twin.space import Space
from twin_rows import ping, send
from twins import needs_twin, scenario

pytestmark = needs_twin
RULES = "*filter\n-A INPUT -p udp --dport 9 -j DROP\n-A OUTPUT -p udp --dport 10 -j DROP\nCOMMIT\n"


@pytest.fixture
def monitor() -> DropMonitor:
    try:
        return DropMonitor()
    except NoMonitor as reason:
        pytest.skip(f"skipped: this kernel offers no drop monitor ({reason})")


def test_reasons_of_one_namespace(monitor: DropMonitor) -> None:
    space = Space("drops")
    try:
        space.ip([["link", "set", "dev", "lo", "up"]])
        space.run("iptables-restore", text=RULES)
        number = Path(space.path).stat().st_ino
        with space.inside():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        monitor.take()
        for port in (9, 10, 11):
            with suppress(PermissionError):  # what OUTPUT drops fails at once
                client.sendto(b"x", ("127.0.0.1", port))
        client.close()
        seen = [(each.reason, each.packet[22:24]) for each in monitor.take() if each.space == number and each.protocol]
        ports = [(reason, int.from_bytes(port, "big")) for reason, port in seen if reason != "QUEUE_PURGE"]
        assert ports == [("NETFILTER_DROP", 9), ("NETFILTER_DROP", 10), ("NO_SOCKET", 11)]
    finally:
        space.close()
        monitor.close()


def test_layout_has_nested_and_unnamed_members() -> None:
    try:
        types = layout()
    except OSError:
        pytest.skip("skipped: this kernel offers no type information")
    assert types.offset("sk_buff", "next") == 0
    assert types.offset("net", "ns", "inum") > types.offset("net", "ns") > 0
    assert types.values("skb_drop_reason")[3] == "SKB_DROP_REASON_NO_SOCKET"
    with pytest.raises(LookupError, match="no member is called nothing"):
        types.offset("sk_buff", "nothing")


def test_without_a_monitor_drops_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> DropMonitor:
        raise NoMonitor("bpf(): not permitted")

    monkeypatch.setattr("emu.twin.drops.DropMonitor", none)
    report = judge(load_text(scenario(ping("default/web"), cluster="{nodes: 1}", node="node-1")))
    assert report.exit_status == 0, report.text()
    assert (
        "not judged: the reasons of drops: this kernel offers no drop monitor (bpf(): not permitted)" in report.text()
    )


def test_a_drop_by_each_side_is_compared() -> None:
    report = judge(load_text(scenario(send("IP(dst='10.244.2.2', proto=99)/'abc'") + ping("10.96.9.9"))))
    assert report.exit_status == 0, report.text()
