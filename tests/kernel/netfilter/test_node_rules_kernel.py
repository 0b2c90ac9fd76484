"""What CNI plugins, Docker and Istio put on nodes, on this machine's kernel: spelled, counted and rewritten the same."""

from __future__ import annotations

import random
import shutil
import sys

import pytest

from emu.kernel.netfilter.dump import parse_dump, unknown
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kernel.netfilter.save import save
from emu.wire.addr import ip4
from linux import Linux
from rules import FakeNetns, packet

SETS = """\
create ips hash:ip family inet hashsize 1024 maxelem 65536
add ips 127.0.0.2
add ips 127.0.0.9
create wide hash:ip family inet hashsize 1024 maxelem 65536 netmask 29
add wide 127.0.0.8
create nets hash:net family inet hashsize 1024 maxelem 65536
add nets 127.0.0.0/28
add nets 127.0.0.4/30 nomatch
add nets 127.0.0.6
create ports hash:ip,port family inet hashsize 1024 maxelem 65536
add ports 127.0.0.3,udp:1500
add ports 127.0.0.3,tcp:80
create netports hash:net,port family inet hashsize 1024 maxelem 65536
add netports 127.0.0.0/30,udp:3000
create loops hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add loops 127.0.0.2,udp:3000,127.0.0.1
create sources hash:ip,port,net family inet hashsize 1024 maxelem 65536
add sources 127.0.0.4,udp:1500,127.0.0.0/31
create devices hash:net,iface family inet hashsize 1024 maxelem 65536
add devices 127.0.0.0/29,lo
create shadowed hash:net,iface family inet hashsize 1024 maxelem 65536
add shadowed 127.0.0.0/8,lo
add shadowed 127.0.0.4/31,other
add shadowed 127.0.0.8/30,oth+
create bits hash:ip family inet hashsize 1024 maxelem 65536 bitmask 255.255.255.250
add bits 127.0.0.2
create cut hash:ip,port family inet hashsize 1024 maxelem 65536 netmask 30
add cut 127.0.0.4,udp:1500
create numbers bitmap:port range 1000-3500
add numbers 1500
add numbers 3500
create flat bitmap:ip range 127.0.0.0-127.0.0.15
add flat 127.0.0.5
create found hash:ip family inet hashsize 1024 maxelem 65536
create all list:set size 8
add all ips
add all ports
"""
RULES = """\
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A OUTPUT ! -p udp -j ACCEPT
-A OUTPUT -m set --match-set ips dst
-A OUTPUT -m set ! --match-set ips dst
-A OUTPUT -m set --match-set ips src
-A OUTPUT -m set --match-set wide dst
-A OUTPUT -m set --match-set nets dst
-A OUTPUT -m set ! --match-set nets dst
-A OUTPUT -m set --match-set nets dst --return-nomatch
-A OUTPUT -m set --match-set ports dst,dst
-A OUTPUT -m set --match-set ports dst,src
-A OUTPUT -m set --match-set ports dst
-A OUTPUT -m set ! --match-set ports dst
-A OUTPUT -m set --match-set netports dst,dst
-A OUTPUT -m set --match-set loops dst,dst,src
-A OUTPUT -m set --match-set sources dst,dst,src
-A OUTPUT -m set --match-set devices dst,dst
-A OUTPUT -m set --match-set devices dst,src
-A OUTPUT -m set --match-set shadowed dst,dst
-A OUTPUT -m set --match-set bits dst
-A OUTPUT -m set --match-set cut dst,dst
-A OUTPUT -m set --match-set numbers dst
-A OUTPUT -m set --match-set numbers src
-A OUTPUT -m set --match-set flat dst
-A OUTPUT -m set --match-set all dst
-A OUTPUT -m set --match-set all dst,dst
-A OUTPUT -d 127.0.0.3/32 -j MARK --set-xmark 0x5/0xffffffff
-A OUTPUT -p udp -m udp --dport 3500 -j SET --add-set found dst --exist
-A OUTPUT -m set --match-set found dst
-A OUTPUT -p udp -m udp --dport 80 -j SET --del-set found dst
-A OUTPUT -m set --match-set found dst -j SET --add-set ips src
-A OUTPUT -m owner --uid-owner 0
-A OUTPUT -m owner ! --uid-owner 0
-A OUTPUT -m owner --uid-owner 1000-2000
-A OUTPUT -m owner --gid-owner 1337
-A OUTPUT -m owner ! --gid-owner 1337
-A OUTPUT -m owner --socket-exists
-A OUTPUT -m owner ! --socket-exists
-A OUTPUT -m length --length 28:32
-A OUTPUT -m length ! --length 30
-A OUTPUT -m iprange --dst-range 127.0.0.3-127.0.0.5
-A OUTPUT -m iprange ! --src-range 127.0.0.2-127.0.0.5
-A OUTPUT -m ttl --ttl-eq 64
-A OUTPUT -m ttl ! --ttl-eq 64
-A OUTPUT -m ttl --ttl-lt 64
-A OUTPUT -m ttl --ttl-gt 63
-A OUTPUT -m dscp --dscp 0x00
-A OUTPUT -d 127.0.0.2/32 -j DSCP --set-dscp 0x2e
-A OUTPUT -d 127.0.0.3/32 -j TOS --set-tos 0x10/0x3f
-A OUTPUT -m dscp --dscp 0x2e
-A OUTPUT -m dscp ! --dscp 0x2e
-A OUTPUT -m tos --tos 0x10/0x3f
-A OUTPUT -m tos ! --tos 0x10/0xff
-A OUTPUT -d 127.0.0.4/32 -j TTL --ttl-set 9
-A OUTPUT -d 127.0.0.4/30 -j TTL --ttl-dec 2
-A OUTPUT -d 127.0.0.5/32 -j TTL --ttl-inc 200
-A OUTPUT -m ttl --ttl-eq 7
-A OUTPUT -m ttl --ttl-gt 200
-A OUTPUT -m length --length 28 -j NFLOG --nflog-prefix "hello there" --nflog-group 5
-A OUTPUT -j CLASSIFY --set-class 0001:000a
-A POSTROUTING -p udp -m udp --dport 1500 -j CHECKSUM --checksum-fill
COMMIT
*security
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p udp -m udp --dport 999 -j DROP
-A OUTPUT -p udp -m udp --dport 1500
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p udp -m udp --dport 80 -j TRACE
COMMIT
"""
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
# what those programs put on nodes, as iptables-save spells it
SPELLED = {
    ("raw", "PREROUTING"): [
        "-m rpfilter --validmark --invert -j DROP", "-m rpfilter --loose --accept-local", "-m rpfilter",
    ],
    ("mangle", "FORWARD"): [
        "-p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1400:65495 -j TCPMSS --clamp-mss-to-pmtu",
        "-p tcp -m tcpmss ! --mss 1400", "-p tcp -m tcp ! --tcp-option 2 -j DROP",
        "-m length ! --length 100:200", "-m dscp ! --dscp 0x01", "-j NFLOG --nflog-group 1 --nflog-threshold 20",
    ],
    ("nat", "OUTPUT"): ["-p tcp -m owner --uid-owner 1337 -j RETURN", "-p tcp -j REDIRECT --to-ports 15001"],
    ("nat", "POSTROUTING"): [
        "-o vxlan.calico -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE",
        "-m set --match-set ips src -m set ! --match-set nets dst -j MASQUERADE --random-fully",
    ],
    ("filter", "INPUT"): [
        '-p ipencap -m comment --comment "cali:abc" -m comment --comment "Allow IPIP" -m set --match-set nets src -j ACCEPT',
    ],
}  # fmt: skip


def rules_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("[", "-A"))]


@pytest.fixture
def sets(linux: Linux) -> str:
    """A namespace of the real kernel with the sets in it."""
    if shutil.which("ipset") is None:
        pytest.skip("skipped: no real kernel to ask (no ipset)")
    netns = linux.namespace("sets")
    linux.run(netns, "ipset", "restore", stdin=SETS)
    return netns


def test_sets_matches_and_targets_count_what_the_kernels_count(linux: Linux, sets: str) -> None:
    linux.run(sets, "iptables-restore", stdin=RULES)
    chance = random.Random(20240607)
    packets = [
        (f"127.0.0.{chance.randrange(1, 12)}", chance.choice((80, 999, 1500, 3000, 3500)), chance.randrange(6))
        for _ in range(300)
    ]
    linux.run(sets, sys.executable, "-c", SENDER, *(f"{dst}:{port}:{size}" for dst, port, size in packets))
    theirs = rules_of(linux.run(sets, "iptables-save", "-c"))

    net = FakeNetns(local=frozenset((ip4("127.0.0.1"),)))
    net.tables.ipsets = parse_ipset(SETS)
    ruleset = parse_dump(RULES)
    assert not unknown(ruleset)
    net.tables.replace(ruleset)
    sock = object()
    for dst, port, size in packets:
        frame = packet("127.0.0.1", dst, 17, 40000, port, size=size, outdev="lo")
        frame.sock = sock
        if net.run("OUTPUT", frame) is None:
            net.run("POSTROUTING", frame)
    ours = rules_of(net.tables.save(counters=True))
    # ICMP errors of the kernel walk OUTPUT too, and stop at the first rule
    assert [line for line in ours if "! -p udp" not in line] == [line for line in theirs if "! -p udp" not in line]
    members = linux.run(sets, "ipset", "list", "found").partition("Members:\n")[2].split()
    assert sorted(each.text for each in net.tables.ipsets["found"].elements.values()) == sorted(members)


def test_node_rules_are_spelled_as_iptables_save_spells_them(linux: Linux, sets: str) -> None:
    lines: dict[str, list[str]] = {}
    for (table, chain), rules in SPELLED.items():
        lines.setdefault(table, []).extend(f"-A {chain} {rule}" for rule in rules)
    text = "".join(f"*{table}\n" + "\n".join(rules) + "\nCOMMIT\n" for table, rules in lines.items())
    linux.run(sets, "iptables-restore", stdin=text)
    ruleset = parse_dump(text)
    assert not unknown(ruleset)
    # TCPMSS's clamp and the like come back as they went in; so does every order of matches
    assert sorted(rules_of(save(ruleset))) == sorted(rules_of(linux.run(sets, "iptables-save")))
