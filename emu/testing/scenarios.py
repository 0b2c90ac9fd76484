"""Hypothesis strategy: whole small scenarios, a cluster and a few flows, for tests that run a cluster twice.

A drawn scenario is a frozen value whose repr is a Python expression; `text` is the scenario file, for `emu run` and
`emu twin`. No link is impaired; only named sources draw. Must not know who judges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from emu.testing.odd_packets import PORT, odd_packets, odd_segments

WEB, ECHO, CLOSED, NODE_PORT, HOST_PORT = 8080, 7, 99, 30000, 8000
# The apps of every pod. A Service's port 80 is the web server's, 7 the echo's.
APPS = f"http@{WEB},echo@{ECHO},echo@{ECHO}/udp"
SIZES = (0, 1, 8, 100, 1000)
DATAGRAMS = (*SIZES, 1372, 1373, 1472, 1473, 3000, 6000)
STREAMS = (*SIZES, 1448, 1449, 1460, 2896, 4000, 12000)
GET = "GET / HTTP/1.0\\r\\n\\r\\n"
SYSCTLS: tuple[tuple[str, int], ...] = (
    ("net.bridge.bridge-nf-call-iptables", 0),
    ("net.ipv4.tcp_timestamps", 0),
    ("net.ipv4.tcp_sack", 0),
    ("net.ipv4.tcp_window_scaling", 0),
    ("net.ipv4.ip_default_ttl", 32),
    ("net.ipv4.conf.all.rp_filter", 1),
    ("net.ipv4.icmp_echo_ignore_all", 1),
    ("net.ipv4.ip_forward", 0),
)
PROXIED_S = 2.0
# network, underlay, and a line of the scenario's `cluster`
PLAIN: tuple[tuple[str, str, str], ...] = tuple(
    (network, underlay, "") for network in ("bridge", "flat") for underlay in ("routed", "switched")
)
NETWORKS: tuple[tuple[str, str, str], ...] = (
    *PLAIN,
    ("flannel", "routed", ""),
    ("flannel", "switched", ""),
    ("flannel", "switched", "flannel: {Backend: {Type: vxlan, DirectRouting: true}}"),
    ("flannel", "switched", "flannel: {Backend: {Type: host-gw}}"),
    ("kindnet", "switched", ""),
    ("calico", "switched", "calico: {vxlanMode: Never}"),
    ("calico", "switched", "calico: {vxlanMode: Always}"),
    ("calico", "routed", "calico: {vxlanMode: Always}"),
    ("calico", "switched", ""),
    ("aws-vpc", "vpc", "aws-vpc: {instanceType: t3.small}"),
)
# Those with an agent for NetworkPolicies
ENFORCED: tuple[tuple[str, str, str], ...] = (
    ("bridge", "routed", "policy: kube-router"),
    ("flannel", "switched", "policy: kube-router"),
    ("calico", "switched", "calico: {vxlanMode: Never}"),
    ("calico", "switched", "calico: {vxlanMode: Always}"),
)
# With Linux's default offloads
OFFLOADED: tuple[tuple[str, str, str], ...] = tuple(
    (network, "switched", "offloads: true") for network in ("bridge", "flannel", "calico")
)
TTLS, TOSES, TCP_FLAGS = (64, 64, 1, 2, 3), (0, 0, 0x28, 0xFF), ("S", "SA", "A", "FA", "R", "", "FSPU")
NO_ROUTE = ("10.244.77.7", "10.96.9.9", "192.0.2.1", "127.0.0.1")
MOST_ODD = 8  # a flow has at most so many odd packets: neighbours are probed where a scenario takes long
# Some addresses and MACs that the hosts of a drawn cluster have, whatever its network
UNDERLAY = ("192.168.51.11", "192.168.52.12", "192.168.50.11", "192.168.50.12", "203.0.113.10")
BRIDGED = ("10.244.1.2", "10.244.2.2", "10.244.1.3", "10.244.1.1", "10.244.2.1", "10.96.0.10")
CALICO = ("10.244.41.192", "10.244.41.193", "10.244.41.194", "10.244.41.0", "10.244.41.1", "10.96.0.10")
VPC = ("10.0.0.100", "10.0.0.101", "10.0.16.100", "10.0.0.11", "10.0.16.11", "10.96.0.10", "203.0.113.10")
MACS = (
    "de:9c:c6:5c:2d:4c", "16:ad:8a:c6:f6:c8", "02:42:00:00:00:0b", "02:42:00:00:00:0c", "02:42:00:00:00:01", "02:aa:00:00:00:11",
    "96:c4:b0:a7:83:40", "46:ee:72:cf:59:ce", "ee:ee:ee:ee:ee:ee",
)  # fmt: skip
NO_NEIGHBOUR = ("10.244.1.99", "10.244.2.99", "203.0.113.99")


@dataclass(frozen=True)
class SmallPod:
    """Pod `p<number>` on node `node` (counted from 1), behind the Service of its `group`."""

    node: int
    group: int
    host_port: int = 0

    @property
    def ports(self) -> str:
        """The container's `ports`: the web server by TCP and the echo by UDP, at one host port."""
        if not self.host_port:
            return ""
        ports = f"{{containerPort: {WEB}, hostPort: {self.host_port}}}, "
        return f", ports: [{ports}{{containerPort: {ECHO}, hostPort: {self.host_port}, protocol: UDP}}]"


@dataclass(frozen=True)
class SmallService:
    """Service `s<group>` with the pods of its group as endpoints: the types and fields of a Service's spec."""

    kind: str = "ClusterIP"
    external_policy: str = "Cluster"
    internal_policy: str = "Cluster"
    affinity: str = "None"


@dataclass(frozen=True)
class SmallPolicy:
    """A NetworkPolicy of the pods of `group`: ingress or egress with those of `peer` alone, at `port` (0: all)."""

    group: int
    peer: int
    port: int
    direction: str

    @property
    def spec(self) -> str:
        """The object's `spec`."""
        ports = f", ports: [{{port: {self.port}}}, {{port: {self.port}, protocol: UDP}}]" if self.port else ""
        way = {"ingress": "from", "egress": "to"}[self.direction]
        peers = f"{way}: [{{podSelector: {{matchLabels: {{group: g{self.peer}}}}}}}]"
        return f"{{podSelector: {{matchLabels: {{group: g{self.group}}}}}, policyTypes: [{self.direction.title()}], {self.direction}: [{{{peers}{ports}}}]}}"


@dataclass(frozen=True)
class SmallFlow:
    """One step, or several: `more` has the sizes of what a connection sends after its first answer. `to` is an endpoint as scenarios write it,
    or of `send` a Scapy expression; `size` is the number of bytes sent, -1 for a web request. `wait_s` passes before. A connection that is `held` stays open."""

    kind: str
    source: str
    to: str
    size: int
    timeout_s: float = 1.5
    connected: bool = True
    blocking: bool = False
    more: tuple[int, ...] = ()
    wait_s: int = 0
    port: int = 0
    held: bool = False

    def lines(self, name: str) -> list[str]:
        """The steps as YAML; a connection that stays open is called `name`."""
        lines = [f"- wait: {self.wait_s}s"] if self.wait_s else []
        words = f'from: {self.source}, to: "{self.to}"'
        if self.kind == "send":
            scapy = self.to.replace("\\", "\\\\")
            return [*lines, f'- send: {{from: {self.source}, scapy: "{scapy}"}}']
        if self.kind == "ping":
            return [*lines, f"- ping: {{{words}, size: {self.size}}}"]
        words += f', send: "{_data(self.size)}", timeout: {self.timeout_s}' + (
            f", port: {self.port}" if self.port else ""
        )
        words += ("" if self.connected else ", connected: false") + (", blocking: true" if self.blocking else "")
        if self.held:
            return [*lines, f"- {{name: {name}, {self.kind}: {{{words}, close: false}}}}"]
        if not self.more:
            return [*lines, f"- {self.kind}: {{{words}}}"]
        lines.append(f"- {{name: {name}, {self.kind}: {{{words}, close: false}}}}")
        for left, size in enumerate(reversed(self.more)):
            close = ", close: false" if left < len(self.more) - 1 else ""
            lines.append(f'- more: {{of: {name}, send: "{_data(size)}", timeout: {self.timeout_s}{close}}}')
        return lines


def _data(size: int) -> str:
    return GET if size < 0 else "".join(chr(97 + place % 26) for place in range(size))


@dataclass(frozen=True)
class SmallLink:
    """A change of a pod's or node's link: `kind` is pod or node, `mtu` is set at both ends."""

    kind: str
    name: str
    mtu: int


@dataclass(frozen=True)
class SmallScenario:
    """A cluster and its flows; `links` are changed before the flows."""

    nodes: int
    pods: tuple[SmallPod, ...]
    services: tuple[SmallService, ...]
    flows: tuple[SmallFlow, ...]
    network: str = "bridge"
    underlay: str = "routed"
    hairpin: bool = False
    masquerade_all: bool = False
    sysctls: tuple[tuple[str, int], ...] = ()
    links: tuple[SmallLink, ...] = ()
    options: str = ""
    policies: tuple[SmallPolicy, ...] = ()

    @property
    def steps(self) -> list[str]:
        """Each step as a line."""
        lines = [f"- link: {{{link.kind}: {link.name}, mtu: {link.mtu}}}" for link in self.links]
        return lines + [line for number, flow in enumerate(self.flows) for line in flow.lines(f"f{number}")]

    @property
    def text(self) -> str:
        """The scenario as a file."""
        sysctls = ", ".join(f"{name}: {value}" for name, value in self.sysctls)
        lines = [
            "apiVersion: emu/v1", "kind: Scenario", "cluster:", f"  nodes: {self.nodes}", f"  network: {self.network}",
            f"  underlay: {self.underlay}", f"  hairpin: {str(self.hairpin).lower()}", f"  sysctls: {{{sysctls}}}",
            f"  kubeProxy: {{iptables: {{masqueradeAll: {str(self.masquerade_all).lower()}}}}}",
            *([f"  {self.options}"] if self.options else []), "steps:", *self.steps,
        ]  # fmt: skip
        for number, pod in enumerate(self.pods):
            lines += [
                "---", "apiVersion: v1", "kind: Pod",
                f'metadata: {{name: p{number}, labels: {{group: g{pod.group}}}, annotations: {{emu/app: "{APPS}"}}}}',
                f"spec: {{nodeName: node-{pod.node}, containers: [{{name: app{pod.ports}}}]}}",
            ]  # fmt: skip
        for group, service in enumerate(self.services):
            lines += ["---", "apiVersion: v1", "kind: Service", f"metadata: {{name: s{group}}}", "spec:"]
            lines += [
                f"  type: {service.kind}",
                f"  clusterIP: 10.96.0.{10 + group}",
                f"  selector: {{group: g{group}}}",
            ]
            lines += [f"  sessionAffinity: {service.affinity}", f"  internalTrafficPolicy: {service.internal_policy}"]
            node_ports = ["", "", ""]
            if service.kind == "NodePort":
                lines.append(f"  externalTrafficPolicy: {service.external_policy}")
                node_ports = [f", nodePort: {NODE_PORT + 10 * group + place}" for place in range(3)]
            lines += [
                "  ports:",
                f"  - {{name: web, port: 80, targetPort: {WEB}{node_ports[0]}}}",
                f"  - {{name: echo, port: 7, targetPort: {ECHO}{node_ports[1]}}}",
                f"  - {{name: echo-udp, port: 7, protocol: UDP, targetPort: {ECHO}{node_ports[2]}}}",
            ]
        for number, policy in enumerate(self.policies):
            lines += [
                "---",
                "apiVersion: networking.k8s.io/v1",
                "kind: NetworkPolicy",
                f"metadata: {{name: n{number}}}",
            ]
            lines.append(f"spec: {policy.spec}")
        return "\n".join([*lines, ""])


def _ends(nodes: int, pods: int) -> list[str]:
    return [
        *(f"default/p{number}" for number in range(pods)),
        *(f"node/node-{1 + n}" for n in range(nodes)),
        "external",
    ]


@st.composite
def raw_packets(draw: st.DrawFn, source: str) -> SmallFlow:
    """A packet of its own from a pod or node: of UDP, TCP or ICMP, or the first piece of a datagram; to a pod's, a Service's or no host's
    address, with any TTL and TOS."""
    to = draw(st.sampled_from(("10.244.1.2", "10.244.2.2", "10.96.0.10", "192.0.2.1", "203.0.113.10")))
    words = f"dst='{to}', ttl={draw(st.sampled_from(TTLS))}, tos={draw(st.sampled_from(TOSES))}"
    port, data = draw(st.sampled_from((WEB, ECHO, CLOSED))), f"'{_data(draw(st.sampled_from((0, 8, 100))))}'"
    kind = draw(st.sampled_from(("udp", "tcp", "icmp", "piece")))
    inner = {
        "udp": f"UDP(sport=4000, dport={port})/{data}",
        "tcp": f"TCP(sport=4000, dport={port}, flags='{draw(st.sampled_from(TCP_FLAGS))}', seq=7, ack=9)/{data}",
        "icmp": f"ICMP(type={draw(st.sampled_from((8, 0, 13, 5)))}, id=9)/{data}",
        "piece": f"UDP(sport=4000, dport={port}, len=200)/'{_data(96)}'",
    }[kind]
    if kind == "piece":
        words += ", flags='MF', id=7"
    return SmallFlow("send", source, f"IP({words})/{inner}", 0)


def some_addresses(network: str) -> tuple[str, ...]:
    """Of pods, nodes, a Service and the outside."""
    return {"calico": CALICO + UNDERLAY, "aws-vpc": VPC}.get(network, BRIDGED + UNDERLAY)


@st.composite
def odd_flows(draw: st.DrawFn, flow: SmallFlow, ends: list[str], addresses: tuple[str, ...]) -> tuple[SmallFlow, ...]:
    """The flow, and odd packets behind it, mostly of the same source. A client of UDP has the port that odd packets have, and so has
    one of TCP to an address that is known here, whose connection stays open, and gets odd segments."""
    source = flow.source if flow.source != "external" else ends[0]
    to, _, port = flow.to.replace("external", "203.0.113.10").rpartition(":")
    packets = odd_packets(addresses, MACS)
    if flow.kind == "udp" and draw(st.booleans()):
        flow = replace(flow, port=PORT)
    elif flow.kind == "tcp" and to.startswith(("10.96.0.", "203.0.113.1")) and flow.source == source:
        flow = replace(flow, port=PORT, held=True, more=(), blocking=False)
        packets = st.one_of(odd_segments(to, int(port)), packets)
    sources = st.sampled_from((source, source, *ends))
    odd = st.builds(lambda source, packet: SmallFlow("send", source, packet, 0), sources, packets)
    return flow, *draw(st.lists(odd, max_size=MOST_ODD))


@st.composite
def small_flows(
    draw: st.DrawFn,
    nodes: int,
    pods: int,
    services: tuple[SmallService, ...],
    host_ports: tuple[tuple[int, int], ...] = (),
    *,
    wide: bool = False,
) -> SmallFlow:
    """A flow of such a cluster: to pods, nodes, the outside, Services, node ports and `host_ports` (node, port), open and closed; sometimes
    to an address that no host has. With `wide` also raw packets, connections that stay open, and clients that block or wait."""
    ends = _ends(nodes, pods)
    # the outside has no route to cluster IPs, and most interesting flows begin at a pod
    source = draw(st.sampled_from(ends[:pods] * 3 + ends))
    kind = draw(st.sampled_from(("tcp", "tcp", "udp", "ping", *(("send",) if wide and source != "external" else ()))))
    if kind == "send":
        return draw(raw_packets(source))
    where = draw(st.sampled_from(("end", "end", "service", "service", "node-port", "absent")))
    if where == "node-port" and host_ports and kind != "ping" and draw(st.booleans()):
        where = "host-port"
    if where == "service" and not services:
        where = "end"
    numbers = [group for group, each in enumerate(services) if each.kind == "NodePort"]
    if where == "node-port" and (not numbers or kind == "ping"):
        where = "end"
    web = kind == "tcp" and draw(st.booleans())
    timeout_s = 1.5
    if where == "absent":
        # A neighbour entry fails after three seconds, when TCP sends its third SYN. The kernel's timer wheel, with slots
        # of 32 ms there, decides which is first, so that no TCP flow goes to an address that no host has.
        nowhere = NO_ROUTE if kind == "tcp" else NO_ROUTE + NO_NEIGHBOUR
        to, port, timeout_s = draw(st.sampled_from(nowhere)), ECHO, 4.0
    elif where == "service":
        group = draw(st.integers(0, len(services) - 1))
        to, port = f"10.96.0.{10 + group}", draw(st.sampled_from((80 if web else 7,) * 5 + (CLOSED,)))
    elif where == "node-port":
        group = draw(st.sampled_from(numbers))
        place = 2 if kind == "udp" else 0 if web else 1
        to, port = f"node/node-{draw(st.integers(1, nodes))}", NODE_PORT + 10 * group + place
    elif where == "host-port":
        number, port = draw(st.sampled_from(host_ports))
        to, web = f"node/node-{number}", kind == "tcp"
    else:
        to = draw(st.sampled_from(ends))
        open_port = (80 if to == "external" else WEB) if web else ECHO
        if to == "external" and kind == "udp":
            open_port = 53
        port = draw(st.sampled_from((open_port,) * 5 + (CLOSED,)))
    if kind == "ping":
        return SmallFlow(kind, source, to, draw(st.sampled_from(DATAGRAMS)))
    if kind == "udp":
        size, connected = draw(st.sampled_from(DATAGRAMS)), draw(st.booleans())
        return SmallFlow(kind, source, f"{to}:{port}", size, timeout_s, connected)
    size = -1 if web else draw(st.sampled_from(STREAMS))
    if not wide:
        return SmallFlow(kind, source, f"{to}:{port}", size, timeout_s)
    more: tuple[int, ...] = ()
    if where == "end" and source in ends[:pods] and to in ends[:pods] and port == ECHO and size > 0:
        more = tuple(draw(st.lists(st.sampled_from(STREAMS[1:]), max_size=2)))
    blocking, wait_s = draw(st.integers(0, 4)) == 4, draw(st.sampled_from((0, 0, 0, 1, 6)))
    return SmallFlow(kind, source, f"{to}:{port}", size, timeout_s, True, blocking, more, wait_s)


@st.composite
def small_scenarios(
    draw: st.DrawFn,
    max_nodes: int = 3,
    max_pods: int = 6,
    max_services: int = 4,
    max_flows: int = 4,
    *,
    networks: tuple[tuple[str, str, str], ...] = PLAIN,
    wide: bool = False,
    odd: bool = False,
) -> SmallScenario:
    """Clusters of up to `max_nodes` nodes with up to `max_flows` flows; at most three endpoints a Service. `networks` are network,
    underlay and a line of `cluster`; with `wide` pods have host ports, and flows are of all kinds; with `odd` odd packets follow the first."""
    nodes = draw(st.integers(1, max_nodes))
    service = st.builds(
        SmallService,
        st.sampled_from(("ClusterIP", "ClusterIP", "NodePort")),
        st.sampled_from(("Cluster", "Local")),
        st.sampled_from(("Cluster", "Cluster", "Local")),
        st.sampled_from(("None", "None", "ClientIP")),
    )
    services = tuple(draw(st.lists(service, max_size=max_services)))
    pods: list[SmallPod] = []
    for _ in range(draw(st.integers(1, max_pods))):
        group = draw(st.integers(0, max(0, len(services) - 1)))
        if sum(each.group == group for each in pods) >= 3:
            group = len(services)  # no Service has it
        # the host port is the pod's own, so that no two pods of a node have one
        host_port = HOST_PORT + len(pods) if wide and draw(st.integers(0, 2)) == 2 else 0
        pods.append(SmallPod(draw(st.integers(1, nodes)), group, host_port))
    sysctls = draw(st.lists(st.sampled_from(SYSCTLS), unique=True, max_size=2))
    linked = [
        *(("pod", f"default/p{number}") for number in range(len(pods))),
        *(("node", f"node-{1 + number}") for number in range(nodes)),
    ]
    mtus = draw(st.dictionaries(st.sampled_from(linked), st.sampled_from((1400, 1300, 9000)), max_size=1))
    ports = tuple((pod.node, pod.host_port) for pod in pods if pod.host_port)
    each = small_flows(nodes, len(pods), services, ports, wide=wide)
    flows = tuple(draw(st.lists(each, min_size=1, max_size=max_flows)))
    network, underlay, options = draw(st.sampled_from(networks))
    if odd:
        flows = (*draw(odd_flows(flows[0], _ends(nodes, len(pods)), some_addresses(network))), *flows[1:])
    if any(name.endswith(("ip_forward", "rp_filter")) for name, _ in sysctls):
        flows = tuple(replace(flow, more=()) for flow in flows)  # the connection may not have opened
    if underlay == "vpc":
        # an error from a VPC comes after connect(): it is a program on the kernel's side, and in the emulator none
        flows = tuple(replace(flow, blocking=False) for flow in flows)
    if network == "flat":
        # Proxies wait up to 0.8 s each before they answer. A client must not give up at the time of the answer.
        flows = tuple(replace(flow, timeout_s=flow.timeout_s + PROXIED_S) for flow in flows)
    policies: list[SmallPolicy] = []
    if (network, underlay, options) in ENFORCED:
        groups, port = st.integers(0, len(services)), st.sampled_from((0, ECHO, WEB))
        policy = st.builds(SmallPolicy, groups, groups, port, st.sampled_from(("ingress", "egress")))
        policies = draw(st.lists(policy, max_size=2))
    if policies:
        flows = tuple(replace(flow, more=()) for flow in flows)
    return SmallScenario(
        nodes,
        tuple(pods),
        services,
        flows,
        network,
        underlay,
        network in ("bridge", "flat") and draw(st.booleans()),
        draw(st.integers(0, 5)) == 5,
        tuple(sorted(sysctls)),
        tuple(SmallLink(kind, name, mtu) for (kind, name), mtu in mtus.items()),
        options,
        tuple(policies),
    )
