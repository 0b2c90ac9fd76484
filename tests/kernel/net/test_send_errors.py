"""The errno of a socket's call when rules, NAT or routes refuse its packet: one for each cause, as the kernel has them."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from emu.errors import SocketError
from emu.kernel import boot
from emu.lab import Lab
from linux import Linux

TO = "192.0.2.1"
ROUTES = (
    "default via 10.0.0.9", "unreachable default table 44", "unreachable 10.66.0.0/16", "blackhole 10.67.0.0/16", "prohibit 10.68.0.0/16",
)  # fmt: skip
POLICY = ("fwmark 1 unreachable", "fwmark 2 blackhole", "fwmark 3 prohibit", "fwmark 4 lookup 44")
CAUSES = [
    (f"-A OUTPUT -d {TO} -j DROP", TO, "EPERM"),
    (f"-A OUTPUT -d {TO} -j REJECT", TO, "EPERM"),
    (f"-t raw -A OUTPUT -d {TO} -j DROP", TO, "EPERM"),
    (f"-t mangle -A POSTROUTING -d {TO} -j DROP", TO, "EPERM"),
    (f"-t mangle -A OUTPUT -d {TO} -j MARK --set-mark 1", TO, "ENETUNREACH"),
    (f"-t mangle -A OUTPUT -d {TO} -j MARK --set-mark 2", TO, "EINVAL"),
    (f"-t mangle -A OUTPUT -d {TO} -j MARK --set-mark 3", TO, "EACCES"),
    (f"-t mangle -A OUTPUT -d {TO} -j MARK --set-mark 4", TO, "EHOSTUNREACH"),
    (f"-t nat -A OUTPUT -d {TO} -p udp -j DNAT --to-destination 10.66.0.1", TO, "EHOSTUNREACH"),
    (f"-t nat -A OUTPUT -d {TO} -p udp -j DNAT --to-destination 10.67.0.1", TO, "EINVAL"),
    (f"-t nat -A OUTPUT -d {TO} -p udp -j DNAT --to-destination 10.68.0.1", TO, "EACCES"),
    ("-t nat -A OUTPUT -p udp --dport 9 -j DNAT --to-destination 10.0.0.9:9", "127.0.0.1", "EINVAL"),
]
SENDER = """
import errno, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    s.sendto(b"x", (sys.argv[1], 9))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(("rule", "to", "error"), CAUSES)
def test_each_cause_has_its_error(rule: str, to: str, error: str) -> None:
    lab = Lab()
    node, other = lab.router("node"), lab.host("other")
    lab.cable(node, "10.0.0.1/24", other, "10.0.0.9/24")
    for text in ROUTES:
        boot.route(node, text)
    for text in POLICY:
        boot.rule(node, text)
    lab.iptables(node, rule)
    with pytest.raises(SocketError) as caught:
        node.sockets.udp().sendto(b"x", (to, 9))
    assert caught.value.errno == getattr(errno, error)
    assert sum(node.drops.values()) == 1


@pytest.fixture
def real(linux: Linux) -> tuple[Linux, str]:
    name = linux.namespace("node")
    linux.run(name, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    for end in ("eth0", "far0"):
        linux.run(name, "ip", "link", "set", end, "up")
    linux.run(name, "ip", "addr", "add", "10.0.0.1/24", "dev", "eth0")
    linux.run(name, "ip", "neigh", "add", "10.0.0.9", "lladdr", "02:00:00:00:00:99", "dev", "eth0")
    for kind, texts in (("route", ROUTES), ("rule", POLICY)):
        for text in texts:
            linux.run(name, "ip", kind, "add", *text.split())
    return linux, name


@pytest.mark.twin
def test_the_kernel_has_the_same_errors(real: tuple[Linux, str]) -> None:
    linux, name = real
    got = []
    for rule, to, _ in CAUSES:
        linux.run(name, "iptables", *rule.split())
        got.append(linux.run(name, sys.executable, "-c", SENDER, to).strip())
        linux.run(name, "iptables", *rule.replace("-A ", "-D ").split())
        subprocess.run(["ip", "netns", "exec", name, "conntrack", "-F"], capture_output=True, check=False)
    assert got == [error for _, _, error in CAUSES]
