"""Frames whose link header is odd, into a bridge and into a plain device: who gets them, and what is answered.

The sender has two links to one machine: `eth0` to a port of its bridge br0 (10.0.1.1), `eth1` to a device of its own
(10.0.2.1). A second host is on the bridge. UDP port 7 echoes there, TCP port 7 listens. Each row is asked of the emulator
and of this machine's kernel.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop, RouterAlert
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from emu.kernel import boot
from emu.kernel.net.neighbour import lookup
from emu.lab import Lab
from emu.wire.addr import ip4, mac
from linux import Linux

SENDER, BRIDGE, PLAIN, OTHER = (f"02:00:00:00:00:{number}" for number in ("99", "bb", "aa", "0b"))
ALL, GROUP, STRANGER = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:77"
NO_ARP, NO_IP6, NO_IP = ("net.bridge.bridge-nf-call-arptables=0",), ("net.bridge.bridge-nf-call-ip6tables=0",), (
    "net.bridge.bridge-nf-call-iptables=0",
)  # fmt: skip


class Row(NamedTuple):
    """`frame` leaves by `link`; `flooded`: does the second host get it, unchanged? `answer`: the first that comes back."""

    frame: Any
    flooded: bool = False
    answer: str = ""
    link: str = "eth0"
    sysctls: tuple[str, ...] = ()


def to(address: str, dst: str, *tags: Any) -> Any:
    """The Ethernet header, tags, and an IP header to `address`."""
    head = Ether(dst=dst, src=SENDER)
    for tag in tags:
        head = head / tag
    return head / IP(src=address[:-1] + "2", dst=address)


ECHO, SYN, CLOSED = ICMP(id=1), TCP(sport=9999, dport=7, flags="S"), TCP(sport=9998, dport=8, flags="S")
DATA, CLOSED_PORT = UDP(sport=9999, dport=7) / "hi", UDP(sport=9998, dport=8) / "hi"
ONE, TWO = "10.0.1.1", "10.0.2.1"
SHORT_TAG = Ether(dst=PLAIN, src=SENDER, type=0x8100) / Raw(b"\0\0\x08\0")
BAD6 = Raw(bytes([0x50]) + bytes(45))
LONG6 = Raw(bytes([0x60]) + bytes(3) + b"\0\x40\x3b\x40" + bytes(40))
GOOD6 = Raw(bytes([0x60]) + bytes(3) + b"\0\4\x3b\x40" + bytes(36))
HOPS6 = IPv6(src="fe80::1", dst="ff02::1") / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / UDP(sport=1, dport=2)
BAD_HOPS6 = Raw(bytes([0x60]) + bytes(3) + b"\0\x08\0\x40" + bytes(32) + b"\x3b\0\5\7\0\0\0\0")

ROWS = {
    # TCP takes only what came for the device's own MAC; UDP and ICMP do not ask
    "SYN": Row(to(TWO, PLAIN) / SYN, answer="SA", link="eth1"),
    "SYN by broadcast": Row(to(TWO, ALL) / SYN, link="eth1"),
    "SYN by multicast": Row(to(TWO, GROUP) / SYN, link="eth1"),
    "SYN to a closed port by broadcast": Row(to(TWO, ALL) / CLOSED, link="eth1"),
    "SYN by broadcast over a bridge": Row(to(ONE, ALL) / SYN, flooded=True),
    "SYN by multicast over a bridge": Row(to(ONE, GROUP) / SYN, flooded=True),
    "SYN to a closed port by multicast over a bridge": Row(to(ONE, GROUP) / CLOSED, flooded=True),
    "UDP by broadcast": Row(to(TWO, ALL) / DATA, answer="udp", link="eth1"),
    "UDP by multicast": Row(to(TWO, GROUP) / DATA, answer="udp", link="eth1"),
    "UDP to a closed port": Row(to(TWO, PLAIN) / CLOSED_PORT, answer="icmp3", link="eth1"),
    "UDP to a closed port by broadcast": Row(to(TWO, ALL) / CLOSED_PORT, link="eth1"),
    "UDP by broadcast over a bridge": Row(to(ONE, ALL) / DATA, flooded=True, answer="udp"),
    "echo by broadcast": Row(to(TWO, ALL) / ECHO, answer="icmp0", link="eth1"),
    # tags: VLAN 0 is a priority only, other VLANs have no device here
    "priority tag": Row(to(TWO, PLAIN, Dot1Q(vlan=0, prio=5)) / ECHO, answer="icmp0", link="eth1"),
    "priority tag of 802.1ad": Row(to(TWO, PLAIN, Dot1AD(vlan=0)) / ECHO, answer="icmp0", link="eth1"),
    "two priority tags": Row(to(TWO, PLAIN, Dot1Q(vlan=0), Dot1Q(vlan=0)) / ECHO, answer="icmp0", link="eth1"),
    "VLAN 5": Row(to(TWO, PLAIN, Dot1Q(vlan=5)) / ECHO, link="eth1"),
    "VLAN 5 in a priority tag": Row(to(TWO, PLAIN, Dot1Q(vlan=0), Dot1Q(vlan=5)) / ECHO, link="eth1"),
    "a priority tag in VLAN 5": Row(to(TWO, PLAIN, Dot1Q(vlan=5), Dot1Q(vlan=0)) / ECHO, link="eth1"),
    "a tag and nothing else": Row(SHORT_TAG, link="eth1"),
    "priority tag to a bridge": Row(to(ONE, BRIDGE, Dot1Q(vlan=0, prio=5)) / ECHO, answer="icmp0"),
    "VLAN 5 to a bridge": Row(to(ONE, BRIDGE, Dot1Q(vlan=5)) / ECHO),
    "priority tag over a bridge": Row(to("10.0.1.3", STRANGER, Dot1Q(vlan=0, prio=5)) / ECHO, flooded=True),
    "VLAN 5 over a bridge": Row(to("10.0.1.3", STRANGER, Dot1Q(vlan=5)) / ECHO, flooded=True),
    "ARP in a priority tag": Row(
        Ether(dst=ALL, src=SENDER) / Dot1Q(vlan=0) / ARP(hwsrc=SENDER, psrc="10.0.2.2", pdst=TWO),
        answer="arp",
        link="eth1",
    ),
    "ARP in VLAN 5": Row(
        Ether(dst=ALL, src=SENDER) / Dot1Q(vlan=5) / ARP(hwsrc=SENDER, psrc="10.0.2.2", pdst=TWO), link="eth1"
    ),
    # br_netfilter looks at the headers of what a bridge forwards
    "ARP of 6 bytes": Row(Ether(dst=ALL, src=SENDER, type=0x0806) / Raw(b"\0\1\x86\xdd\x08\4")),
    "ARP of 6 bytes, no arptables": Row(
        Ether(dst=ALL, src=SENDER, type=0x0806) / Raw(b"\0\1\x86\xdd\x08\4"), flooded=True, sysctls=NO_ARP
    ),
    "ARP of 8 bytes": Row(Ether(dst=ALL, src=SENDER, type=0x0806) / Raw(b"\0\1\x08\0\6\4\0\1"), flooded=True),
    "ARP of 6 bytes, no iptables": Row(
        Ether(dst=ALL, src=SENDER, type=0x0806) / Raw(b"\0\1\x86\xdd\x08\4"), sysctls=NO_IP
    ),
    "IPv6 of 0 bytes": Row(Ether(dst=STRANGER, src=SENDER, type=0x86DD)),
    "IPv6 of 20 bytes": Row(Ether(dst=STRANGER, src=SENDER, type=0x86DD) / Raw(b"\x60" + bytes(19))),
    "IPv6 of version 5": Row(Ether(dst=STRANGER, src=SENDER, type=0x86DD) / BAD6),
    "IPv6 of version 5, no ip6tables": Row(
        Ether(dst=STRANGER, src=SENDER, type=0x86DD) / BAD6, flooded=True, sysctls=NO_IP6
    ),
    "IPv6 that ends early": Row(Ether(dst=STRANGER, src=SENDER, type=0x86DD) / LONG6),
    "IPv6": Row(Ether(dst=STRANGER, src=SENDER, type=0x86DD) / GOOD6, flooded=True),
    "IPv6 with a hop-by-hop option": Row(Ether(dst=STRANGER, src=SENDER) / HOPS6, flooded=True),
    "IPv6 with a broken hop-by-hop option": Row(Ether(dst=STRANGER, src=SENDER, type=0x86DD) / BAD_HOPS6),
    "IPv4 with a bad header checksum": Row(
        Ether(dst=STRANGER, src=SENDER) / IP(src="10.0.1.2", dst="10.0.1.3", chksum=1) / ECHO
    ),
    "IPv4 with a bad header checksum, no iptables": Row(
        Ether(dst=STRANGER, src=SENDER) / IP(src="10.0.1.2", dst="10.0.1.3", chksum=1) / ECHO,
        flooded=True,
        sysctls=NO_IP,
    ),
}


def word(data: bytes) -> str:
    packet = Ether(data)
    if TCP in packet:
        return str(packet[TCP].flags)
    if UDP in packet:
        return "udp"
    if ICMP in packet:
        return f"icmp{packet[ICMP].type}"
    return "arp" if ARP in packet else packet.summary()


@pytest.mark.parametrize("name", ROWS)
def test_what_becomes_of_it(name: str) -> None:
    row = ROWS[name]
    lab = Lab()
    sender, machine, other = lab.host("sender"), lab.router("machine"), lab.host("other")
    bridge = boot.bridge(machine, "br0", BRIDGE)
    for end, inside, port in ((sender, SENDER, "p0"), (other, OTHER, "p1")):
        far, _ = boot.veth(machine, port, end, "eth0", f"02:00:00:00:01:{port[1]}0", inside)
        bridge.add_port(far)
    plain, _ = boot.veth(machine, "plain", sender, "eth1", PLAIN, SENDER)
    boot.address(machine, bridge, "10.0.1.1/24")
    boot.address(machine, plain, "10.0.2.1/24")
    for device, address in ((bridge, "10.0.1.2"), (plain, "10.0.2.2")):
        entry = lookup(machine.ipv4, device, ip4(address))
        assert entry is not None
        entry.update(mac(SENDER), "PERMANENT")
    for each in row.sysctls:
        key, _, value = each.partition("=")
        machine.sysctl[key] = int(value)
    listener, echo = machine.sockets.tcp(), machine.sockets.udp()
    listener.bind(("0.0.0.0", 7))
    listener.listen(5)
    echo.bind(("0.0.0.0", 7))

    def answer() -> None:
        data, peer = echo.recvfrom()
        lab.clock.call_later(0, lambda: echo.sendto(data, peer) and None)

    echo.on_readable = answer
    sender.sockets.send_packet(bytes(row.frame), device=row.link)
    lab.run(0.1)
    got = [each.data for each in lab.frames("other/eth0") if each.direction != "out"]
    back = [each.data for each in lab.frames(f"sender/{row.link}") if each.direction != "out"]
    assert got == ([bytes(row.frame)] if row.flooded else [])
    assert [word(each) for each in back[:1]] == ([row.answer] if row.answer else [])


DRIVER = r"""
import socket, struct, subprocess, sys, threading, time
machine, rows = sys.argv[1], eval(sys.stdin.read())
def opened(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((name, 3))
    s.setsockopt(263, 8, 1)  # PACKET_AUXDATA
    s.setblocking(False)
    return s
def got(s):
    found = []
    while True:
        try:
            data, aux, _, address = s.recvmsg(2000, 200)
        except BlockingIOError:
            return found
        if address[2] == socket.PACKET_OUTGOING:
            continue
        for _, _, raw in aux:
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", raw[:20])
            if status & 16:
                data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        found.append(data)
links = {name: opened(name) for name in ("eth0", "eth1", "other")}
for name, data, link, sysctls, flooded, answered in rows:
    for each in ("arptables=1", "iptables=1", "ip6tables=1"):
        subprocess.run(["ip", "netns", "exec", machine, "sysctl", "-qw", f"net.bridge.bridge-nf-call-{each}"], check=True)
    for each in sysctls:
        subprocess.run(["ip", "netns", "exec", machine, "sysctl", "-qw", each], check=True)
    for s in links.values():
        got(s)
    links[link].send(data)
    others, back = [], []
    for _ in range(100):  # what is expected may be late on a busy machine; for what is not, one turn
        time.sleep(0.05)
        others += got(links["other"])
        back += got(links[link])
        if len(others) >= flooded and len(back) >= answered:
            break
    print(repr((name, others, back[:1])))
"""
ECHOES = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
t = socket.socket()
s.bind(("0.0.0.0", 7)); t.bind(("0.0.0.0", 7)); t.listen(5)
print("ready", flush=True)
while True:
    s.sendto(*s.recvfrom(2000))
"""


def test_the_kernel_does_the_same(linux: Linux) -> None:
    sender, machine = linux.namespace("sender"), linux.namespace("machine")
    for each in ("all", "default"):
        for net in (sender, machine):
            linux.run(net, "sysctl", "-qw", f"net.ipv6.conf.{each}.disable_ipv6=1")
    linux.run(machine, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv4.ip_forward=1")
    linux.run(machine, "sysctl", "-qw", "net.ipv4.tcp_synack_retries=0")  # no SYN-ACK again, a row or more later
    for command in (
        f"link add br0 address {BRIDGE} type bridge mcast_snooping 0 forward_delay 0",
        f"link add p0 type veth peer name eth0 address {SENDER} netns {sender}",
        f"link add p1 type veth peer name other address {OTHER} netns {sender}",
        f"link add plain address {PLAIN} type veth peer name eth1 address {SENDER} netns {sender}",
        "link set p0 master br0 up",
        "link set p1 master br0 up",
        "link set br0 up",
        "link set plain up",
        "addr add 10.0.1.1/24 brd + dev br0",
        "addr add 10.0.2.1/24 brd + dev plain",
        f"neigh add 10.0.1.2 lladdr {SENDER} dev br0",
        f"neigh add 10.0.2.2 lladdr {SENDER} dev plain",
    ):
        linux.run(machine, "ip", *command.split(" "))
    for device in ("eth0", "eth1", "other"):
        linux.run(sender, "ip", "link", "set", device, "up")
        linux.run(sender, "sysctl", "-qw", f"net.ipv4.conf.{device}.arp_ignore=8")
    given = [
        (name, bytes(row.frame), row.link, row.sysctls, row.flooded, bool(row.answer)) for name, row in ROWS.items()
    ]
    with linux.program(machine, sys.executable, "-c", ECHOES):
        text = linux.run(sender, sys.executable, "-c", DRIVER, machine, stdin=repr(given))
    seen = {name: (got, [word(each) for each in back]) for name, got, back in map(eval, text.splitlines())}
    for name, row in ROWS.items():
        wanted = ([bytes(row.frame)] if row.flooded else []), ([row.answer] if row.answer else [])
        assert seen[name] == wanted, name
