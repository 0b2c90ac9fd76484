"""The same rules and packets on this machine's kernel: every rule must have counted the same packets and bytes."""

from __future__ import annotations

import sys

from emu.kernel.netfilter.save import parse_restore
from emu.wire.addr import ip4
from linux import Linux
from rules import FakeNetns, packet

RULES = """\
*mangle
:m - [0:0]
-A OUTPUT -p udp -j m
-A m -p udp -m udp --dport 1500 -j MARK --set-xmark 0x5/0xff
-A m -d 127.0.0.2/32 -j MARK --set-xmark 0x4000/0x4000
-A m -d 127.0.0.3/32 -m mark --mark 0x5 -j RETURN
-A m -m mark ! --mark 0x0 -j MARK --set-xmark 0x1/0x0
COMMIT
*filter
:u - [0:0]
:v - [0:0]
:w - [0:0]
-A OUTPUT ! -p udp -j ACCEPT
-A OUTPUT -m statistic --mode nth --every 3 --packet 0
-A OUTPUT -m statistic --mode nth --every 3 --packet 2
-A OUTPUT -m statistic --mode nth ! --every 4 --packet 1
-A OUTPUT -m recent --rcheck --name a --rdest
-A OUTPUT -m recent --update --hitcount 3 --name b --rdest
-A OUTPUT -m recent --set --name a --rsource
-A OUTPUT -m recent --set --name b --rdest
-A OUTPUT -p udp -m udp --dport 3000 -m recent --remove --name b --rdest
-A OUTPUT -p udp -m udp --dport 1000:2000
-A OUTPUT -p udp -m udp ! --dport 1000:2000
-A OUTPUT -p udp -m multiport --dports 1500,3000:4000
-A OUTPUT -p udp -m multiport ! --ports 1500,3000:4000
-A OUTPUT -m addrtype --dst-type LOCAL
-A OUTPUT -m addrtype ! --src-type LOCAL,BROADCAST
-A OUTPUT -s 127.0.0.1/32 ! -d 127.0.0.2/31
-A OUTPUT ! -o eth+
-A OUTPUT -m limit --limit 1/hour --limit-burst 4
-A OUTPUT -m mark --mark 0x5/0xff
-A OUTPUT -j u
-A OUTPUT -g w
-A OUTPUT -j ACCEPT
-A u -p udp -m udp --dport 1500 -j RETURN
-A u -g v
-A u -j ACCEPT
-A v -d 127.0.0.3/32 -j RETURN
-A v -d 127.0.0.4/32 -j ACCEPT
-A w -p udp -m udp --dport 3500 -j DROP
-A w -m recent --rcheck --seconds 60 --reap --name a --rsource -j RETURN
COMMIT
"""
PACKETS = [(f"127.0.0.{2 + n % 3}", (1500, 3000, 80, 3500, 1500, 999, 2000)[n % 7], n % 11) for n in range(60)]
SENDER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 40000))
for word in sys.argv[1:]:
    address, port, size = word.split(":")
    try:
        s.sendto(bytes(int(size)), (address, int(port)))
    except PermissionError:
        pass
"""


def counted(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("[")]


def test_every_rule_counts_what_the_kernels_counts(linux: Linux) -> None:
    netns = linux.namespace("count")
    linux.run(netns, "iptables-restore", stdin=RULES)
    linux.run(netns, sys.executable, "-c", SENDER, *(f"{dst}:{port}:{size}" for dst, port, size in PACKETS))
    theirs = counted(linux.run(netns, "iptables-save", "-c"))

    net = FakeNetns(local=frozenset((ip4("127.0.0.1"),)))
    net.tables.replace(parse_restore(RULES))
    for dst, port, size in PACKETS:
        net.run("OUTPUT", packet("127.0.0.1", dst, 17, 40000, port, size=size, outdev="lo"))
    # ICMP port unreachables of the kernel walk OUTPUT too, and stop at the first rule
    first = next(line for line in theirs if line.endswith("! -p udp -j ACCEPT"))
    assert [line for line in counted(net.tables.save(counters=True)) if "! -p udp -j" not in line] == [
        line for line in theirs if line != first
    ]
    assert net.rerouted > 0
