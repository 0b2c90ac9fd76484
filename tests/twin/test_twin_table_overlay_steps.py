"""Overlays that steps build or damage (`link`, `address`, `neigh`, `fdb`), each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import C, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

ONE, TWO = "192.168.51.11", "192.168.52.12"
M1, M2 = "02:00:00:00:07:01", "02:00:00:00:07:02"


def step(kind: str, node: int, **verbs: str) -> str:
    words = ", ".join(f'{verb}: "{text}"' for verb, text in verbs.items())
    return f"- {kind}: {{node: node-{node}, {words}}}\n"


def by_hand(words: str = "nolearning") -> str:
    """A VXLAN device on both nodes, 10.7.0.1 and 10.7.0.2, each knowing the other's MAC and where it is."""
    made = ""
    for node, own, mac in ((1, ONE, M1), (2, TWO, M2)):
        made += step("link", node, add=f"vx0 address {mac} type vxlan id 7 local {own} dev eth0 dstport 4789 {words}")
        made += step("address", node, add=f"10.7.0.{node}/24 dev vx0") + step("link", node, set="vx0 up")
    return made


KNOWN = (
    step("neigh", 1, add=f"10.7.0.2 lladdr {M2} dev vx0 nud permanent")
    + step("neigh", 2, add=f"10.7.0.1 lladdr {M1} dev vx0 nud permanent")
    + step("fdb", 1, add=f"{M2} dev vx0 dst {TWO}")
    + step("fdb", 2, add=f"{M1} dev vx0 dst {ONE}")
)
FLOOD = step("fdb", 1, append=f"00:00:00:00:00:00 dev vx0 dst {TWO}") + step(
    "fdb", 2, append=f"00:00:00:00:00:00 dev vx0 dst {ONE}"
)
FLANNEL = "{nodes: 2, network: flannel}"
OVER = ping("10.7.0.2", frm="node/node-1")
ROWS = {
    "by hand, all known": {"steps": by_hand() + KNOWN + OVER + OVER},
    "by hand, flooded and learned": {"steps": by_hand("learning") + FLOOD + OVER + OVER},
    "by hand, nothing known": {"steps": by_hand() + OVER},
    "by hand, a host that is not there": {"steps": by_hand() + step("fdb", 1, append="00:00:00:00:00:00 dev vx0 dst 192.168.52.99") + OVER},
    "by hand, then down, and up again": {
        "steps": by_hand() + KNOWN + OVER + step("link", 1, set="vx0 down") + OVER + step("link", 1, set="vx0 up") + OVER
    },
    "by hand, deleted": {"steps": by_hand() + KNOWN + OVER + step("link", 1, **{"del": "vx0"}) + OVER},
    "an entry is replaced": {
        "steps": by_hand() + KNOWN + step("fdb", 1, replace=f"{M2} dev vx0 dst {ONE}")
        + step("fdb", 1, replace=f"{M2} dev vx0 dst {TWO}") + OVER
    },
    "an entry is deleted": {"steps": by_hand() + KNOWN + step("fdb", 1, **{"del": f"{M2} dev vx0 dst {TWO}"}) + OVER},
    "an address is deleted": {"steps": by_hand() + KNOWN + step("address", 2, **{"del": "10.7.0.2/24 dev vx0"}) + OVER},
    "flannel, a wrong VTEP": {
        "steps": step("neigh", 1, replace="10.244.2.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent")
        + ping("default/web")
        + tcp("default/web:8080", timeout="1500ms"),
        "cluster": FLANNEL,
    },
    "flannel, no neighbour": {
        "steps": step("neigh", 1, **{"del": "10.244.2.0 dev flannel.1"}) + ping("default/web") + ping(C, frm="default/web"),
        "cluster": FLANNEL,
    },
    "flannel.1 is down": {
        "steps": step("link", 1, set="flannel.1 down") + ping("default/web") + udp("default/web:53", timeout="1500ms"),
        "cluster": FLANNEL,
    },
    "flannel.1 is narrower": {
        "steps": step("link", 1, set="flannel.1 mtu 1300")
        + send(f"IP(dst='10.244.2.2', flags='DF')/ICMP(id=7)/'{'x' * 1400}'")
        + tcp("default/web:8080", send="x" * 3000),
        "cluster": FLANNEL,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
