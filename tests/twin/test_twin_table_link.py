"""Links, bridges and their ports, ARP, broadcast and multicast, one behaviour a row, each judged by this machine's kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_rows import ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin


def bridge(**keys: object) -> str:
    """A .conflist with the bridge plugin."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": "{{.PodCIDR}}"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipam": ipam, **keys}
    return json.dumps({"cniVersion": "1.0.0", "name": "own", "plugins": [plugin]})


OWN = "{nodes: 1, network: own.conflist}"
ROWS: dict[str, dict[str, str]] = {
    # what a promiscuous bridge hands up belongs to no connection, so that KUBE-FORWARD drops the second copy
    "promiscuous-own-service": {
        "steps": tcp("svc/web:80", frm="default/web", timeout="2500ms"),
        "cluster": OWN,
        "conflist": bridge(promiscMode=True),
        "node": "node-1",
    },
    "promiscuous-same-node": {
        "steps": tcp("svc/web:80") + udp("svc/web:53") + ping("default/web") + udp("svc/web:53", send="p" * 3000),
        "cluster": OWN,
        "conflist": bridge(promiscMode=True),
        "node": "node-1",
    },
    "promiscuous-other-node": {
        "steps": tcp("svc/web:80") + ping("default/web"),
        "cluster": "{nodes: 2, network: own.conflist}",
        "conflist": bridge(promiscMode=True),
    },
    "promiscuous-to-everybody": {
        "steps": send("Ether(dst='ff:ff:ff:ff:ff:ff')/IP(dst='10.244.1.255')/UDP(sport=5, dport=53)/'x'"),
        "cluster": OWN,
        "conflist": bridge(promiscMode=True),
        "node": "node-1",
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str, tmp_path: Path) -> None:
    row = dict(ROWS[name])
    if "conflist" in row:
        (tmp_path / "own.conflist").write_text(row.pop("conflist"))
    path = tmp_path / "row.yaml"
    path.write_text(scenario(**row))
    agrees(path, "table")
