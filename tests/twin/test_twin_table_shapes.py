"""Shapes of clusters: several LANs and interfaces, clients on the nodes' LAN, routes of the underlay, pods beside nodes; one
behaviour a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

NODEPORT = """apiVersion: v1
kind: Service
metadata: {name: np}
spec:
  type: NodePort
  clusterIP: 10.96.0.30
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}, {name: dns, port: 53, protocol: UDP, nodePort: 30053}]
"""
RACKS = """{underlay: switched,
  lans: [{name: rack-a, subnet: 192.168.1.0/24}, {name: rack-b, subnet: 172.20.0.0/16, gateway: 172.20.255.254}],
  nodes: [{name: node-1, region: eu, addresses: [{type: InternalIP, address: 192.168.1.20}]},
    {name: node-2, zone: b, interfaces: [{lan: rack-b, mac: "52:54:00:12:34:56"}]}],
  external: [{name: client, lan: rack-a, apps: [http@8080, echo@7/udp]}, {name: far, apps: [http@80]}]}"""
STORAGE = """{underlay: switched,
  lans: [{name: front, subnet: 192.168.1.0/24}, {name: storage, subnet: 172.30.0.0/24, gateway: false, mtu: MTU}],
  nodes: [{name: node-1, interfaces: [{name: eth0, lan: front}, {name: eth1, lan: storage}]},
    {name: node-2, interfaces: [{name: eth0, lan: front, address: 192.168.1.40}, {name: eth1, address: 172.30.0.40/24}]}],
  external: [{name: nas, lan: storage, apps: [http@2049]}, {name: client, lan: front}] MORE}"""
ROUTED = "{nodes: 2, configureCloudRoutes: false, routes: [10.244.1.0/24 via node-1 MORE]}"
INSIDE = """{underlay: switched, podSubnet: 10.7.128.0/17, nodeCIDRMaskSize: 26,
  lans: [{name: flat, subnet: 10.7.0.0/16}], nodes: 2, external: [{name: client, lan: flat}]}"""
LONG = udp("172.30.0.40:9", send="x" * 1800, frm="node/node-1")


CLOUD = "{underlay: switched, nodes: 2, bridge: {hostGw: false} MORE}"
JOB = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: client}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}, annotations: {emu/app: "http@8080", emu/runs: 1s}}
    spec: {restartPolicy: Never, nodeSelector: {kubernetes.io/hostname: node-2}, containers: [{name: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


def host(where: str, command: str) -> str:
    return f"- link: {{{where}, set: {command}}}\n"


def storage(mtu: int = 1500, more: str = "") -> str:
    return STORAGE.replace("MTU", str(mtu)).replace(" MORE", more)


ROWS: dict[str, dict[str, str]] = {
    "nodes-in-two-subnets": {
        "steps": ping("default/web") + tcp("svc/web:80") + udp("svc/web:53") + ping("node/node-2") + ping("node/node-1")
        + ping("node/node-2", frm="node/node-1") + tcp("svc/web:80", frm="node/node-1") + ping("external/far"),
        "cluster": RACKS,
    },
    "node-port-in-two-subnets": {
        "steps": tcp("node/node-1:30080", frm="external/far") + tcp("node/node-2:30080", frm="external/far")
        + udp("node/node-1:30053", frm="external/far") + tcp("node/node-1:30080", frm="node/node-2"),
        "cluster": RACKS,
        "more": NODEPORT,
    },
    # on the nodes' LAN: ARP goes to the node, and its answer comes back without the router
    "client-on-the-lan": {
        "steps": ping("node/node-1", frm="external/client") + tcp("node/node-1:30080", frm="external/client")
        + tcp("node/node-2:30080", frm="external/client") + udp("node/node-1:30053", frm="external/client")
        + ping("default/client", frm="external/client") + ping("default/web", frm="external/client"),
        "cluster": RACKS,
        "more": NODEPORT,
    },
    "to-a-host-on-the-lan": {
        "steps": tcp("external/client:8080") + tcp("external/client:80") + udp("external/client:7")
        + udp("external/client:9") + tcp("external/client:8080", frm="default/web") + tcp("external/far:80")
        + tcp("external/far:8080") + tcp("external/client:8080", frm="node/node-2"),
        "cluster": RACKS,
    },
    "client-on-the-lan-policy-local": {
        "steps": tcp("node/node-1:30080", frm="external/client") + tcp("node/node-2:30080", frm="external/client", timeout="500ms"),
        "cluster": RACKS,
        "node": "node-1",
        "more": NODEPORT.replace("  type:", "  externalTrafficPolicy: Local\n  type:"),
    },
    "two-interfaces": {
        "steps": ping("172.30.0.40", frm="node/node-1") + tcp("172.30.0.40:30080", frm="external/nas")
        + tcp("172.30.0.11:30080", frm="external/nas") + tcp("192.168.1.40:30080", frm="external/client")
        + tcp("external/nas:2049", frm="node/node-2") + udp("172.30.0.11:30053", frm="external/nas"),
        "cluster": storage(),
        "more": NODEPORT,
    },
    "pods-with-two-interfaces": {
        "steps": ping("default/web") + ping("172.30.0.40") + ping("172.30.0.11") + tcp("external/nas:2049", timeout="500ms")
        + tcp("192.168.1.40:30080") + tcp("172.30.0.40:30080") + tcp("svc/web:80"),
        "cluster": storage(),
        "more": NODEPORT,
    },
    # the address of one interface, asked for on the other LAN: Linux answers for every address of the host
    "address-of-the-other-interface": {
        "steps": send("Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(op=1, psrc='192.168.1.112', pdst='172.30.0.40')", frm="external/client")
        + ping("172.30.0.40", frm="external/client") + tcp("172.30.0.40:30080", frm="external/client"),
        "cluster": storage(),
        "more": NODEPORT,
    },
    "two-interfaces-strict": {
        "steps": ping("172.30.0.40", frm="external/client") + ping("172.30.0.40", frm="external/nas")
        + tcp("172.30.0.40:30080", frm="external/client", timeout="500ms"),
        "cluster": storage(more=", sysctls: {net.ipv4.conf.all.rp_filter: 1, net.ipv4.conf.default.rp_filter: 1}"),
        "more": NODEPORT,
    },
    "large-frames-on-one-lan": {"steps": LONG + ping("172.30.0.40", frm="node/node-1", size=3000) + ping("external/nas", frm="node/node-2", size=2000), "cluster": storage(9000)},
    # one node's interface takes what the other's does not send
    "mtu-of-one-interface": {
        "steps": ping("node/node-2", frm="node/node-1", size=4000) + ping("node/node-1", frm="node/node-2", size=4000) + ping("default/web", size=4000),
        "cluster": "{underlay: switched, lans: [{name: big, subnet: 192.168.9.0/24, mtu: 9000}], nodes: [{name: node-1, interfaces: [{mtu: 9000}]}, {name: node-2, interfaces: [{mtu: 1500}]}]}",
    },
    "interface-goes-down": {
        "steps": ping("172.30.0.40", frm="node/node-1") + "- link: {node: node-1, device: eth1, down: true}\n"
        + ping("172.30.0.40", frm="node/node-1") + ping("node/node-2", frm="node/node-1")
        + "- link: {node: node-1, device: eth1, down: false}\n" + ping("172.30.0.40", frm="node/node-1"),
        "cluster": storage(),
    },
    # the host sets its own end down: its routes go, and those that users added do not come back
    "device-set-down": {
        "steps": ping("default/web") + ping("node/node-2", frm="node/node-1") + host("node: node-1", "eth0 down")
        + ping("node/node-2", frm="node/node-1") + ping("default/web") + ping("172.30.0.40", frm="node/node-1")
        + host("node: node-1", "dev eth0 up") + ping("node/node-2", frm="node/node-1") + ping("external/client", frm="node/node-1")
        + ping("external", frm="node/node-1") + ping("default/web"),
        "cluster": storage(),
    },
    "bridge-set-down": {
        "steps": ping("default/web") + host("node: node-1", "cbr0 down") + ping("default/web") + ping("default/client", frm="default/web")
        + host("node: node-1", "cbr0 up") + ping("default/web"),
        "cluster": "{nodes: 2}",
    },
    # with arp_notify, as CNI's bridge sets it, Linux announces the address before the bridge's port forwards again
    "device-of-a-pod-set-down": {
        "steps": ping("default/web") + "- sysctl: {pod: default/client, set: {net.ipv4.conf.eth0.arp_notify: 0}}\n" + host("pod: default/client", "eth0 down") + ping("default/web") + ping("default/client", frm="default/web")
        + host("pod: default/client", "eth0 up") + ping("default/web") + ping("default/client", frm="default/web"),
        "cluster": "{nodes: 2}",
    },
    "mtu-and-address-set": {
        "steps": ping("default/web", size=1400) + host("node: node-2", "eth0 mtu 1200") + ping("default/web", size=1400)
        + ping("default/client", frm="default/web", size=1400) + host("node: node-2", "eth0 address 02:00:00:00:00:99")
        + ping("default/web") + ping("default/client", frm="default/web"),
        "cluster": "{nodes: 2, underlay: switched}",
    },
    "mtu-of-a-pod-set": {
        "steps": host("pod: default/client", "eth0 mtu 1000") + tcp("default/web:8080", send="x" * 1400)
        + tcp("default/client:99", frm="default/web") + ping("default/web", size=1400) + ping("default/client", frm="default/web", size=1400),
        "cluster": "{nodes: 2}",
    },
    "bridge-deleted": {
        "steps": ping("default/web") + "- link: {node: node-1, del: cbr0}\n" + ping("default/web") + ping("default/client", frm="default/web", size=64)
        + ping("node/node-2", frm="node/node-1"),
        "cluster": "{nodes: 2}",
    },
    "route-missing-at-the-router": {
        "steps": ping("default/web") + ping("default/client", frm="default/web") + tcp("svc/web:80")
        + ping("default/client", frm="node/node-2") + ping("default/web", frm="node/node-1") + ping("external"),
        "cluster": ROUTED.replace(" MORE", ""),
    },
    "route-stated-at-the-router": {
        "steps": ping("default/web") + ping("default/client", frm="default/web") + tcp("svc/web:80"),
        "cluster": ROUTED.replace(" MORE", ", 10.244.2.0/24 via node-2"),
    },
    "route-to-the-wrong-node": {
        "steps": ping("default/web") + tcp("svc/web:80", timeout="500ms"),
        "cluster": ROUTED.replace(" MORE", ", 10.244.2.0/24 via node-1"),
    },
    "route-that-ends": {
        "steps": ping("default/web") + udp("default/web:53", timeout="500ms"),
        "cluster": ROUTED.replace(" MORE", ", prohibit 10.244.2.0/24"),
    },
    # the node's own, longer route to its pods wins; on the LAN no host answers for a pod
    "pods-inside-the-lan": {
        "steps": ping("default/web") + ping("default/client", frm="default/web") + tcp("svc/web:80") + ping("node/node-2")
        + ping("default/client", frm="external/client") + ping("external/client"),
        "cluster": INSIDE,
    },
    "pods-inside-the-lan-by-proxy-arp": {
        "steps": "".join(
            f"- sysctl: {{node: {node}, set: {{net.ipv4.conf.eth0.proxy_arp: 1}}}}\n" for node in ("node-1", "node-2")
        )
        + ping("default/client", frm="external/client") + tcp("default/web:8080", frm="external/client"),
        "cluster": INSIDE,
    },
    "lan-inside-the-pod-subnet": {
        "steps": ping("default/web") + ping("node/node-2") + tcp("svc/web:80") + ping("external/client")
        + ping("default/web", frm="external/client"),
        "cluster": "{underlay: switched, podSubnet: 10.0.0.0/8, serviceSubnet: 172.16.0.0/16, nodes: 2, lans: [{name: a, subnet: 10.0.2.0/23}], external: [{name: client, lan: a, address: 10.0.3.7}]}",
        "svc": "172.16.0.10",
    },
    # cloud routes alone, on one LAN: each packet to another node's pod goes by the router, which redirects its sender
    "cloud-routes-on-one-lan": {
        "steps": ping("default/web", count=2) + tcp("svc/web:80") + udp("svc/web:53") + ping("default/client", frm="default/web")
        + ping("default/web", frm="node/node-1", count=2) + tcp("svc/web:80", frm="node/node-1"),
        "cluster": CLOUD.replace("MORE", ""),
    },
    "cloud-route-missing-on-one-lan": {
        "steps": ping("default/web") + ping("default/client", frm="default/web") + tcp("svc/web:80", timeout="500ms"),
        "cluster": CLOUD.replace("MORE", ", configureCloudRoutes: false, routes: [10.244.2.0/24 via node-2]"),
    },
    # a client beside the nodes that sends to the pods itself: node-1 redirects it for those of node-2
    "client-with-a-route-to-the-pods": {
        "steps": "- route: {external: client, add: 10.244.0.0/16 via 192.168.1.11}\n" + ping("default/client", frm="external/client")
        + ping("default/web", frm="external/client", count=2) + tcp("default/web:8080", frm="external/client")
        + tcp("svc/web:80", frm="external/client", timeout="500ms"),
        "cluster": storage(),
    },
    "route-of-the-router-withdrawn": {
        "steps": ping("default/web") + "- route: {external: underlay, del: 10.244.2.0/24}\n" + ping("default/web")
        + "- route: {external: underlay, add: 10.244.2.0/24 via 192.168.52.12}\n" + ping("default/web"),
        "cluster": "{nodes: 2}",
    },
    "firewall-of-the-router": {
        "steps": ping("default/web") + '- iptables: {external: gateway, rules: ["-A FORWARD -p udp -j REJECT"]}\n'
        + udp("external/far:7") + udp("default/web:53", frm="external/client") + tcp("external/far:80"),
        "cluster": RACKS,
    },
    "host-outside-goes-down": {
        "steps": ping("external/far") + host("external: far", "eth0 down") + ping("external/far") + host("external: far", "eth0 up")
        + ping("external/far"),
        "cluster": RACKS,
    },
    "cable-of-a-host-outside": {
        "steps": ping("external/far") + "- link: {external: far, down: true}\n" + ping("external/far")
        + "- link: {external: far, down: false}\n" + ping("external/far"),
        "cluster": RACKS,
    },
    # the pod of a Job ends: its network goes, and its Service refuses
    "job-ends": {
        "steps": tcp("svc/web:80") + "- wait: 1500ms\n" + tcp("svc/web:80") + ping("10.244.2.2"),
        "cluster": "{nodes: 2}",
        "pods": JOB,
    },
    # a node has two connected routes of one prefix: the older one wins
    "pod-cidr-is-the-lan": {
        "steps": ping("node/node-2", frm="node/node-1") + ping("default/web") + ping("node/node-1", frm="default/web")
        + ping("node/node-2", frm="external/client"),
        "cluster": "{underlay: switched, nodes: 3, lans: [{name: a, subnet: 10.244.2.0/24}], external: [{name: client, lan: a}]}",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    row = dict(ROWS[name])
    address = row.pop("svc", "10.96.0.10")
    agrees(scenario(**row).replace("10.96.0.10", address), "table")
