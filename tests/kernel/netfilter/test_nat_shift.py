"""DNAT to a shifted range of ports: each port of the client has its own in the range, as the kernel counts them."""

from __future__ import annotations

import json
import sys

import pytest

from emu.errors import SocketError
from emu.lab import Lab
from linux import Linux

PORTS = (998, 1000, 1001, 1004, 1005, 1009, 1012, 65535)
SPANS = ("5000-5004/1000", "5000-5004/1002", "5000-5010/65535", "5003-5003/7")
KERNEL = """
import json, select, socket, sys
servers = {}
for port in range(5000, 5011):
    servers[port] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    servers[port].bind(("10.0.0.1", port))
found = []
for dport in json.loads(sys.argv[1]):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"x", ("10.9.9.9", dport))
    ready, _, _ = select.select(list(servers.values()), [], [], 1)
    found.append([server.getsockname()[1] for server in ready])
    for server in ready:
        server.recv(10)
print(json.dumps(found))
"""


def emus(span: str) -> list[list[int]]:
    lab = Lab()
    host, other = lab.host("host"), lab.host("other")
    lab.cable(host, "10.0.0.1/8", other, "10.0.0.2/8")
    lab.iptables(host, f"-t nat -A OUTPUT -d 10.9.9.9 -p udp -j DNAT --to-destination 10.0.0.1:{span}")
    servers = {}
    for port in range(5000, 5011):
        servers[port] = host.sockets.udp()
        servers[port].bind(("10.0.0.1", port))
    found = []
    for dport in PORTS:
        host.sockets.udp().sendto(b"x", ("10.9.9.9", dport))
        lab.run(0.1)
        found.append([port for port, server in servers.items() if received(server)])
    return found


def received(server: object) -> bool:
    try:
        server.recv()  # type: ignore[attr-defined]  # a UDP socket of the emulator
    except SocketError:
        return False
    return True


@pytest.mark.parametrize("span", SPANS)
def test_a_port_keeps_its_distance_from_the_base(span: str, linux: Linux) -> None:
    netns = linux.namespace("shift")
    linux.run(netns, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    linux.run(netns, "ip", "address", "add", "10.0.0.1/8", "dev", "eth0")
    for device in ("eth0", "eth1"):
        linux.run(netns, "ip", "link", "set", device, "up")
    rule = f"-A OUTPUT -d 10.9.9.9/32 -p udp -j DNAT --to-destination 10.0.0.1:{span}"
    linux.run(netns, "iptables-restore", stdin=f"*nat\n{rule}\nCOMMIT\n")
    theirs = json.loads(linux.run(netns, sys.executable, "-c", KERNEL, json.dumps(PORTS)))
    assert all(len(each) == 1 for each in theirs)
    assert emus(span) == theirs
