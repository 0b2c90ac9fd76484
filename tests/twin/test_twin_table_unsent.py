"""What a node cannot send, as its way out is narrower than the route that its socket knows, one a row, each judged by this machine's kernel.

A node's own NodePort is local to its socket, with a segment size for `lo`. OUTPUT chooses the endpoint, and the way there is a smaller link.
"""

from __future__ import annotations

import pytest

from twin_rows import ECHO, GET, HOSTNET, NODEPORT_UDP, np, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

N1 = "node/node-1"
ECHO_PORT = np().replace("app: web", "app: echo").replace("targetPort: 8080", "targetPort: 7")


def narrow(mtu: int) -> str:
    return f"- link: {{node: node-1, mtu: {mtu}}}\n"


def big(size: int, timeout: str = "3500ms") -> str:
    return narrow(1400) + tcp(f"{N1}:30080", send="y" * size, frm=N1, timeout=timeout)


def chat(more: str) -> str:
    return f'- name: chat\n  tcp: {{from: {N1}, to: "{N1}:30080", send: hi, close: false}}\n{more}'


def again(size: int, close: str = "false") -> str:
    return f"- more: {{of: chat, send: {'y' * size}, close: {close}, timeout: 1200ms}}\n"


ROWS: dict[str, dict[str, str]] = {
    # a segment, a burst that is cut, and three segments: none leaves, and the FIN joins what waits
    **{f"{size}-bytes": {"steps": big(size), "more": ECHO + "---\n" + ECHO_PORT} for size in (1348, 1349, 1448, 1449, 2896, 4000)},
    "a-close-that-nothing-leaves-before": {"steps": big(1448, "300ms") + tcp(f"{N1}:30080", GET, N1), "more": np()},
    "the-way-becomes-narrow-with-data-out": {
        "steps": chat(again(1448) + narrow(1300) + again(1448) + again(20, "true")),
        "more": ECHO + "---\n" + ECHO_PORT,
    },
    # the path's MTU is known to who asks later, and not to who has a route
    "what-a-node-learns-of-itself": {
        "steps": chat(narrow(1400) + again(1448) + again(20)) + tcp(f"{N1}:30080", GET, N1) + udp(f"{N1}:30053", "y" * 1472, N1)
        + udp("node/node-1:53", "y" * 1472, "node/node-2") + tcp(f"{N1}:8080", GET, N1) + again(20),
        "more": ECHO + "---\n" + ECHO_PORT + "---\n" + NODEPORT_UDP,
    },
    "what-lo-learns": {
        "steps": "- sysctl: {node: node-1, set: {net.ipv4.conf.all.route_localnet: 1}}\n" + narrow(1400)
        + tcp("127.0.0.1:30080", "y" * 4000, N1) + tcp("127.0.0.1:30080", GET, N1),
        "more": np(),
    },
    "a-narrow-lo": {
        "steps": "- link: {node: node-1, set: lo mtu 1400}\n" + "".join(
            tcp(to, "y" * 3000, N1) + udp(f"{N1}:30053", "y" * 1600, N1) for to in (f"{N1}:9090", f"{N1}:30080", "127.0.0.1:9090")
        ) + "- link: {node: node-1, set: lo mtu 900}\n" + udp(f"{N1}:9", "y" * 1600, N1) + tcp(f"{N1}:9090", "y" * 3000, N1),
        "more": NODEPORT_UDP + "---\n" + np() + "---\n" + HOSTNET.replace("node-2", "node-1").replace("http@9090", "echo@9090"),
    },
    # datagrams may be cut behind OUTPUT
    "datagrams": {
        "steps": narrow(1400) + "".join(udp(f"{N1}:30053", "y" * size, N1) for size in (1372, 1373, 1472, 4000)),
        "more": NODEPORT_UDP,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
