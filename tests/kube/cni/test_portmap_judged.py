"""portmap beside the machine's own binary: the same calls leave the same rules, sysctl and connections, and fail alike."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cni_judge import Connection, Step, emulated, needs, real

pytestmark = needs("portmap")

ROUTABLE = ({"address": "10.244.1.2/24", "interface": 2},)
MARK_CHAIN = "*nat\n:KUBE-MARK-MASQ - [0:0]\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n"
NODE_RULES = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
COMMIT
"""
USER = """*nat
:CNI-DN-a4f1c0cea3480fe949fc9 - [0:0]
:MINE - [0:0]
-A MINE -j CNI-DN-a4f1c0cea3480fe949fc9
COMMIT
"""
UDP_CLIENTS = (
    Connection("udp", "192.0.2.7", "10.244.1.1", 5353, 8053),
    Connection("udp", "192.0.2.7", "10.244.1.9", 5353, 8053),
    Connection("udp", "192.0.2.7", "10.244.1.1", 8053, 99),
    Connection("udp", "192.0.2.7", "10.244.1.1", 5354, 53),
    Connection("tcp", "192.0.2.7", "10.244.1.1", 5353, 8053),
)


def to(host: int, container: int, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    return {"hostPort": host, "containerPort": container, "protocol": protocol, **more}


def given(*mappings: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {**keys, "runtimeConfig": {"portMappings": [*mappings]}}


def add(*mappings: dict[str, Any], container: int = 1, **keys: Any) -> Step:
    last = container + 1
    return Step("ADD", given(*mappings, **keys), container, ({"address": f"10.244.1.{last}/24", "interface": 2},))


def then(command: str, *mappings: dict[str, Any], container: int = 1, **keys: Any) -> Step:
    return add(*mappings, container=container, **keys)._replace(command=command)


class Row(NamedTuple):
    steps: tuple[Step, ...]
    before: str = ""
    connections: tuple[Connection, ...] = ()


def row(*steps: Step, before: str = "", connections: tuple[Connection, ...] = ()) -> Row:
    return Row(steps, before, connections)


WEB, DNS = to(80, 8080), to(8053, 53, "udp")
MANY = [to(8000 + number, 80) for number in range(17)]
BOUND = [
    to(80, 8080, hostIP="10.244.1.1"), to(80, 8081, hostIP="192.0.2.5"), to(81, 1, hostIP="0.0.0.0"),
    to(82, 1, hostIP="::1"), to(83, 1, hostIP="127.0.0.1"),
]  # fmt: skip
ADDRESSES: list[dict[str, Any]] = [
    {"address": "10.9.9.9/24", "interface": 1}, {"address": "10.244.1.9/16"}, {"address": "10.8.8.8/16", "interface": 2},
]  # fmt: skip
ROWS = {
    "one port": row(add(WEB)),
    "no mapping": row(Step("ADD", {})),
    "tcp and udp": row(add(WEB, DNS, to(8443, 443))),
    "sctp and upper case": row(add(to(80, 8080, "UDP"), to(81, 8, "sctp"), to(82, 9, "TCP"), to(83, 9))),
    "host addresses": row(add(*BOUND)),
    "a host address that is none": row(add(to(80, 8080, hostIP="nonsense"))),
    "17 ports": row(add(*MANY)),
    "one port twice": row(add(WEB, WEB, to(80, 8081))),
    "two containers": row(add(WEB), add(to(81, 8080), container=2)),
    "two containers, one port": row(add(WEB), add(WEB, container=2)),
    "again": row(add(WEB), add(WEB)),
    "again with more ports": row(add(WEB), add(to(81, 8080), WEB)),
    "snat off": row(add(WEB, snat=False)),
    "snat null": row(add(WEB, snat=None, conditionsV4=None, markMasqBit=None)),
    "mark bit 14, then 13": row(add(WEB, markMasqBit=14), add(WEB)),
    "mark bit 0": row(add(WEB, markMasqBit=0)),
    "mark bit 31": row(add(WEB, markMasqBit=31)),
    "mark bit 32": row(add(WEB, markMasqBit=32)),
    "mark bit -1": row(add(WEB, markMasqBit=-1)),
    "external chain": row(add(WEB, externalSetMarkChain="KUBE-MARK-MASQ"), before=MARK_CHAIN),
    "external chain is missing": row(add(WEB, externalSetMarkChain="KUBE-MARK-MASQ")),
    "external chain and bit": row(add(WEB, externalSetMarkChain="KUBE-MARK-MASQ", markMasqBit=3)),
    "conditions": row(add(WEB, conditionsV4=["!", "-s", "192.0.2.0/24", "-d", "192.0.2.1"])),
    "conditions empty": row(add(WEB, conditionsV4=[], conditionsV6=["-d", "fe80::1"])),
    "conditions wrong": row(add(WEB, conditionsV4=["--nonsense"])),
    "two sources": row(add(WEB, conditionsV4=["-s", "192.0.2.1,192.0.2.2"])),
    "host port 0": row(add(to(0, 8080))),
    "host port below 0": row(add(to(-1, 8080))),
    "host port too high": row(add(to(70000, 8080))),
    "container port 0": row(add(to(80, 0))),
    "container port too high": row(add(to(80, 70000))),
    "second mapping wrong": row(add(WEB, to(70000, 80))),
    "no protocol": row(add({"hostPort": 80, "containerPort": 80})),
    "unknown protocol": row(add(to(80, 80, "quic"))),
    "port as text": row(add({"hostPort": "80", "containerPort": 80, "protocol": "tcp"})),
    "snat as text": row(add(WEB, snat="yes")),
    "mappings null": row(Step("ADD", {"runtimeConfig": {"portMappings": None}})),
    "first in the list": row(Step("ADD", given(WEB), previous=None), Step("CHECK", given(WEB), previous=None)),
    "no address": row(Step("ADD", given(WEB), previous=()), Step("CHECK", given(WEB), previous=())),
    "addresses of other interfaces": row(Step("ADD", given(WEB), previous=ADDRESSES)),
    "no route to the container": row(Step("ADD", given(WEB), previous=({"address": "172.16.0.2/24"},))),
    "long name": row(add(WEB, name="n" * 250)),
    "rules of others": row(add(WEB), before=NODE_RULES),
    "DEL": row(add(WEB, DNS), then("DEL", WEB, DNS)),
    "DEL twice": row(add(WEB), then("DEL", WEB), then("DEL", WEB)),
    "DEL of one of two": row(add(WEB), add(DNS, WEB, container=2), then("DEL", WEB), then("DEL", DNS, container=2)),
    "DEL with other ports": row(add(WEB), then("DEL", to(99, 99))),
    "DEL without ports": row(add(WEB), Step("DEL", {})),
    "DEL alone": row(then("DEL", WEB)),
    "DEL without a result": row(add(WEB), Step("DEL", given(WEB), previous=None)),
    "DEL and ADD": row(add(WEB), add(DNS, container=2), then("DEL", WEB), add(WEB)),
    "DEL of a chain that others use": row(add(WEB), then("DEL", WEB), before=USER),
    "external chain in a circle": row(add(WEB, externalSetMarkChain="CNI-HOSTPORT-DNAT"), then("DEL", WEB)),
    "CHECK": row(add(WEB, DNS), then("CHECK", WEB, DNS)),
    "CHECK of another port": row(add(WEB), then("CHECK", to(81, 8080), WEB)),
    "CHECK of other conditions": row(add(WEB), then("CHECK", WEB, conditionsV4=["-d", "192.0.2.4"])),
    "CHECK of wrong conditions": row(add(WEB), then("CHECK", WEB, conditionsV4=["--nonsense"])),
    "CHECK of a wrong port": row(add(WEB), then("CHECK", to(70000, 80))),
    "CHECK with snat": row(add(WEB, snat=False), then("CHECK", WEB)),
    "CHECK after DEL": row(add(WEB), then("DEL", WEB), then("CHECK", WEB)),
    "CHECK alone": row(then("CHECK", WEB)),
    "CHECK without ports": row(Step("CHECK", {})),
    "UDP connections go": row(add(DNS, WEB), connections=UDP_CLIENTS),
    "TCP connections stay": row(add(to(8053, 53)), connections=UDP_CLIENTS),
    "UDP connections of a bound port go": row(add(to(8053, 53, "UDP", hostIP="192.0.2.1")), connections=UDP_CLIENTS),
    "UDP connections stay on DEL": row(then("DEL", DNS), connections=UDP_CLIENTS),
}  # fmt: skip


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with iptables alone: with ip6tables, this version's CHECK asks for an IPv6 chain that was never made."""
    folder = tmp_path_factory.mktemp("tools")
    (folder / "iptables").symlink_to(shutil.which("iptables") or "iptables")
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_the_plugin_of_this_machine_does_the_same(name: str, tools: Path) -> None:
    steps, before, connections = ROWS[name]
    theirs = real("portmap", steps, before, connections, tools)
    assert emulated("portmap", steps, before, connections) == theirs
