"""Whose ARP requests are answered, and what a host learns from ARP: the input route decides, with its source checks.

Each row is asked of the emulator and of this machine's kernel: the owner of 10.0.1.2 gets one frame from a host whose
MAC is ASKER.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from emu.clock import SECOND
from emu.kernel import boot
from emu.kernel.net.neighbour import NOARP, lookup
from emu.lab import Lab
from emu.wire.addr import ip4, ip4_text
from linux import Linux

ASKER, OLD = "02:00:00:00:00:99", "02:00:00:00:00:55"
OWNER = "02:00:00:00:00:02"
BROADCAST = "ff:ff:ff:ff:ff:ff"


class Row(NamedTuple):
    """One ARP frame: sender and target; `known` is a sender that the owner knew by another MAC before. `answered`: does a
    reply come? `learned`: the MAC that the owner then has for the sender."""

    sender: str
    answered: bool
    learned: str = ""
    target: str = "10.0.1.2"
    rp_filter: int = 0
    sysctls: tuple[str, ...] = ()
    known: bool = False
    op: int = 1
    hardware: int = 1
    to: str = BROADCAST
    tha: str = "00:00:00:00:00:00"
    size: int = 28


ROWS = {
    "a neighbour": Row("10.0.1.1", True, ASKER),
    "a neighbour, strict": Row("10.0.1.1", True, ASKER, rp_filter=1),
    "the asked address itself": Row("10.0.1.2", False),
    "the asked address itself, accept_local": Row("10.0.1.2", True, ASKER, sysctls=("accept_local=1",)),
    "a loopback address": Row("127.0.0.1", False),
    "a loopback address, strict": Row("127.0.0.1", False, rp_filter=1),
    "a loopback address, route_localnet": Row("127.0.0.1", False, sysctls=("route_localnet=1",)),
    "no route back": Row("203.0.113.5", True, ASKER),
    "no route back, strict": Row("203.0.113.5", False, rp_filter=1),
    "no route back, loose": Row("203.0.113.5", False, rp_filter=2),
    "another way back, strict": Row("10.0.2.9", False, rp_filter=1),
    "another way back, loose": Row("10.0.2.9", True, ASKER, rp_filter=2),
    "an unreachable way back, loose": Row("10.0.3.9", False, rp_filter=2),
    "multicast": Row("224.0.0.1", False),
    "multicast, strict": Row("224.0.0.1", False, rp_filter=1),
    "the subnet's broadcast": Row("10.0.1.255", True),
    "the subnet's broadcast, strict": Row("10.0.1.255", False, rp_filter=1),
    "the subnet's broadcast, loose": Row("10.0.1.255", False, rp_filter=2),
    "the limited broadcast": Row("255.255.255.255", False),
    "zero": Row("0.0.0.0", True),
    "zero, strict": Row("0.0.0.0", True, rp_filter=1),
    "zero, for another": Row("0.0.0.0", False, target="10.0.1.3"),
    "for another, known": Row("10.0.1.1", False, ASKER, target="10.0.1.3", known=True),
    "for another, unknown": Row("10.0.1.1", False, target="10.0.1.3"),
    "for another, known, strict and without a route back": Row(
        "203.0.113.5", False, ASKER, target="10.0.1.3", known=True, rp_filter=1
    ),
    "known, without a route back, strict": Row("203.0.113.5", False, ASKER, known=True, rp_filter=1),
    "for a group": Row("10.0.1.1", False, OLD, target="224.0.0.1", known=True),
    "for a loopback address": Row("10.0.1.1", False, OLD, target="127.0.0.1", known=True),
    "for the limited broadcast": Row("10.0.1.1", False, ASKER, target="255.255.255.255", known=True),
    "for the subnet's broadcast": Row("10.0.1.1", False, ASKER, target="10.0.1.255", known=True),
    "for zero": Row("10.0.1.1", False, ASKER, target="0.0.0.0", known=True),
    "an announcement": Row("10.0.1.1", False, ASKER, target="10.0.1.1", known=True),
    "an announcement of an unknown sender": Row("10.0.1.1", False, target="10.0.1.1"),
    "an announced reply": Row("10.0.1.1", False, ASKER, target="10.0.1.1", known=True, op=2, tha=ASKER),
    "a reply of an unknown sender": Row("10.0.1.1", False, op=2, to=OWNER),
    "a reply": Row("10.0.1.1", False, ASKER, op=2, to=OWNER, known=True),
    "hardware type 6": Row("10.0.1.1", True, ASKER, hardware=6),
    "hardware type 7": Row("10.0.1.1", False, OLD, hardware=7, known=True),
    "operation 3": Row("10.0.1.1", False, OLD, op=3, known=True),
    "too short": Row("10.0.1.1", False, OLD, size=27, known=True),
    "six bytes": Row("10.0.1.1", False, OLD, size=6, known=True),
    "padded": Row("10.0.1.1", True, ASKER, size=46),
}


def frame(row: Row) -> bytes:
    def octets(mac: str) -> bytes:
        return bytes.fromhex(mac.replace(":", ""))

    body = row.hardware.to_bytes(2, "big") + b"\x08\0\6\4" + row.op.to_bytes(2, "big")
    body += octets(ASKER) + ip4(row.sender).to_bytes(4, "big") + octets(row.tha) + ip4(row.target).to_bytes(4, "big")
    return octets(row.to) + octets(ASKER) + b"\x08\x06" + (body + bytes(18))[: row.size]


@pytest.mark.parametrize("name", ROWS)
def test_who_is_answered(name: str) -> None:
    row = ROWS[name]
    lab = Lab()
    asker, owner = lab.host("asker"), lab.host("owner")
    near, eth0 = lab.cable(asker, "", owner, "10.0.1.2/24")
    lab.cable(owner, "10.0.2.2/24", asker, "")
    near.mac, eth0.mac = bytes.fromhex(ASKER.replace(":", "")), bytes.fromhex(OWNER.replace(":", ""))
    boot.route(owner, "unreachable 10.0.3.0/24")
    owner.sysctl["net.ipv4.conf.eth0.rp_filter"] = row.rp_filter
    for each in row.sysctls:
        key, _, value = each.partition("=")
        owner.sysctl[f"net.ipv4.conf.eth0.{key}"] = int(value)
    if row.known:
        entry = lookup(owner.ipv4, eth0, ip4(row.sender))
        assert entry is not None
        entry.update(bytes.fromhex(OLD.replace(":", "")), "STALE")
        lab.run(2)
    lab.clock.run_until(lab.clock.now + SECOND)
    asker.sockets.send_packet(frame(row), device=near.name)
    lab.run(0.1)
    answers = [each for each in lab.frames("owner/eth0") if each.direction == "out"]
    assert bool(answers) is row.answered
    known = {ip4_text(each.addr): each.lladdr.hex(":") for each in owner.neighbours if each.state != NOARP}
    assert known.get(row.sender, "") == row.learned


DRIVER = """
import socket, subprocess, sys, time
asker, owner, rows = sys.argv[1], sys.argv[2], eval(sys.stdin.read())
def ip(text):
    subprocess.run(["ip", "-n", owner, *text.split()], check=True)
def sysctl(text):
    subprocess.run(["ip", "netns", "exec", owner, "sysctl", "-qw", *text.split()], check=True)
sysctl("net.ipv4.neigh.eth0.locktime=1")  # 10 ms, so that the rows are quick
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind(("eth0", 0x0806))
for name, data, sender, rp_filter, sysctls, known, answer in rows:
    ip("neigh flush all")
    for each in (f"rp_filter={rp_filter}", "accept_local=0", "route_localnet=0", *sysctls):
        sysctl(f"net.ipv4.conf.eth0.{each}")
    if known:
        ip(f"neigh replace {sender} lladdr OLD dev eth0 nud stale")
        time.sleep(0.05)
    s.settimeout(2 if answer else 0.05)  # a busy machine is late with what it does, never early
    s.send(data)
    answered = False
    try:
        while not answered:
            answered = s.recvfrom(2000)[1][2] != socket.PACKET_OUTGOING
    except TimeoutError:
        pass
    out = subprocess.run(["ip", "-n", owner, "neigh", "show", "dev", "eth0"], capture_output=True, text=True).stdout
    entries = {line.split()[0]: line.split()[2] for line in out.splitlines() if "lladdr" in line}
    print(repr((name, answered, entries.get(sender, ""))))
""".replace("OLD", OLD)


def test_the_kernel_answers_the_same(linux: Linux) -> None:
    asker, owner = linux.namespace("asker"), linux.namespace("owner")
    for command in (
        f"link add eth0 address {ASKER} type veth peer name eth0 address {OWNER} netns {owner}",
        f"link add eth1 type veth peer name eth1 netns {owner}",
        "link set eth0 up",
        "link set eth1 up",
    ):
        linux.run(asker, "ip", *command.split(" "))
    for command in (
        "link set eth0 up",
        "link set eth1 up",
        "addr add 10.0.1.2/24 brd + dev eth0",
        "addr add 10.0.2.2/24 brd + dev eth1",
        "route add unreachable 10.0.3.0/24",
    ):
        linux.run(owner, "ip", *command.split(" "))
    linux.run(owner, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
    given = [(n, frame(r), r.sender, r.rp_filter, r.sysctls, r.known, r.answered) for n, r in ROWS.items()]
    text = linux.run(asker, sys.executable, "-c", DRIVER, asker, owner, stdin=repr(given))
    seen = {name: rest for name, *rest in map(eval, text.splitlines())}
    assert seen == {name: [row.answered, row.learned] for name, row in ROWS.items()}
