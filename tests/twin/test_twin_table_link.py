"""Links, bridges and their ports, ARP, broadcast and multicast, one behaviour a row, each judged by this machine's kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_rows import SINK, C, ping, send, tcp, udp
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


MDNS = "UDP(sport=5353, dport=5353)/'mdns'"
GROUPS = (
    send(f"IP(dst='224.0.0.1')/{MDNS}") + send(f"IP(dst='224.0.0.251')/{MDNS}") + send("IP(dst='224.0.0.1')/ICMP(id=7)")
)
NODES = ("node/node-1", "node/node-2")
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
    "promiscuous-group": {
        "steps": GROUPS,
        "cluster": OWN,
        "conflist": bridge(promiscMode=True),
        "node": "node-1",
    },
    "promiscuous-broadcast": {
        "steps": send("Ether(dst='ff:ff:ff:ff:ff:ff')/IP(dst='10.244.1.255')/UDP(sport=5, dport=53)/'x'"),
        "cluster": OWN,
        "conflist": bridge(promiscMode=True),
        "node": "node-1",
    },
    # a port without a carrier forgets what was learned there: the next frame is flooded
    "port-without-carrier": {
        "steps": ping("default/web") + "- link: {node: node-2, down: true}\n" + ping("default/web"),
        "cluster": "{nodes: 3, underlay: switched}",
    },
    "bridge-without-carrier": {
        "steps": ping("default/web", frm="node/node-1")
        + "- link: {pod: default/web, down: true}\n"
        + ping("default/web", frm="node/node-1")
        + ping("default/web"),
        "node": "node-1",
    },
    # a frame that no port may send is a drop, unless the bridge itself takes it
    "flood-without-a-port": {
        "steps": send("Ether(dst='02:00:00:00:00:99')/IP(src='10.244.1.2', dst='10.244.1.99')/ICMP(id=5)")
        + send("Ether(dst='ff:ff:ff:ff:ff:ff')/IP(src='10.244.1.2', dst='10.244.1.255')/ICMP(id=5)"),
    },
    # a group's packet leaves on the link, to the group's MAC; 224.0.0.1 has each host as a member, the sender too
    "groups-from-a-pod": {"steps": GROUPS, "node": "node-1"},
    "groups-from-a-node": {"steps": GROUPS.replace(C, "node/node-1")},
    "groups-from-outside": {"steps": GROUPS.replace(C, "external"), "cluster": "{nodes: 2, underlay: switched}"},
    "groups-by-a-socket": {
        "steps": udp("224.0.0.1:5353", reply="false")
        + udp("224.0.0.251:5353", reply="false", connected="false")
        + udp("239.1.2.3:9", reply="false", frm="node/node-1")
        + udp("224.0.0.1:9", reply="false", send="m" * 3000),
    },
    "group-of-a-listener": {
        "steps": udp("224.0.0.1:9", reply="false") + udp("224.0.0.1:9", reply="false", frm="node/node-1"),
        "more": SINK.replace("node-2", "node-1"),
    },
    "groups-pinged": {"steps": ping("224.0.0.1") + ping("224.0.0.251", frm="node/node-1")},
    "groups-by-tcp": {"steps": tcp("224.0.0.1:80", timeout="500ms")},
    "groups-with-ttl": {
        "steps": send(f"IP(dst='224.0.0.1', ttl=0)/{MDNS}")
        + send(f"IP(dst='224.0.0.251', ttl=0)/{MDNS}")
        + send(f"IP(dst='224.0.0.251', ttl=9)/{MDNS}"),
        "node": "node-1",
    },
    "groups-filtered-by-source": {
        "steps": GROUPS,
        "cluster": "{nodes: 2, sysctls: {net.ipv4.conf.all.rp_filter: 1}}",
        "node": "node-1",
    },
    "groups-masqueraded": {
        "steps": GROUPS + GROUPS.replace(C, "node/node-1"),
        "cluster": "{nodes: 2, kubeProxy: {iptables: {masqueradeAll: true}}}",
        "node": "node-1",
    },
    "groups-by-frames": {
        "steps": "".join(
            send(f"Ether(dst='{mac}')/IP(src='{src}', dst='{dst}')/{MDNS}")
            for mac, src, dst in (
                ("01:00:5e:00:00:01", "10.244.1.2", "224.0.0.1"),
                ("01:00:5e:00:00:01", "10.244.1.1", "224.0.0.1"),
                ("01:00:5e:00:00:01", "0.0.0.0", "224.0.0.1"),
                ("01:00:5e:01:02:03", "10.244.1.2", "239.1.2.3"),
                ("ff:ff:ff:ff:ff:ff", "10.244.1.2", "224.0.0.1"),
                ("ff:ff:ff:ff:ff:ff", "10.244.1.2", "239.1.2.3"),
            )
        ),
        "node": "node-1",
    },
    "groups-without-br-netfilter": {
        "steps": GROUPS,
        "cluster": "{nodes: 2, sysctls: {net.bridge.bridge-nf-call-iptables: 0}}",
        "node": "node-1",
    },
    # a host receives its own broadcast
    "broadcast-from-a-node": {"steps": send("IP(dst='255.255.255.255')/UDP(sport=5, dport=53)/'x'", frm="node/node-1")},
    "broadcast-from-a-pod": {
        "steps": send("IP(dst='255.255.255.255')/UDP(sport=5, dport=53)/'x'")
        + send("IP(dst='10.244.1.255')/UDP(sport=5, dport=53)/'x'")
        + send("IP(dst='10.244.1.255')/ICMP(id=7)"),
        "node": "node-1",
    },
    "broadcast-with-a-listener": {
        "steps": send("IP(dst='255.255.255.255')/UDP(sport=5001, dport=9)/'x'", frm="default/sink")
        + send("IP(dst='255.255.255.255')/UDP(sport=5002, dport=9)/'x'")
        + send("IP(dst='10.244.1.255')/UDP(sport=5003, dport=9)/'x'", frm="node/node-1"),
        "more": SINK.replace("node-2", "node-1"),
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
