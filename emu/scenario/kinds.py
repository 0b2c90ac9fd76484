"""The Scenario kind of emu/v1, as typed, frozen values: what a scenario file may hold, and nothing else.

The actions of a step are in `steps/`, one file each; `shape.py` puts them in. Names are those of kind's and kube-proxy's
own configuration where these have one. Must not know files or clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from emu.kube.api.meta import field_name
from emu.kube.networks.network import networks
from emu.kube.policy.dataplane import dataplanes
from emu.kube.proxy.mode import modes
from emu.kube.underlay.underlay import underlays
from emu.registry import Shelf

OutcomeWord = Literal["delivered", "refused", "rejected", "dropped", "timeout", "error", "undecided"]
# A mode is a folder, an underlay a file: a name that is on none of these shelves is an error, and the schema lists all. Neither needs a
# list of every part when a scenario is read.
SHELVES: Mapping[str, Shelf[Any]] = {
    "modes": modes, "underlays": underlays, "dataplanes": dataplanes, "networks": networks,
}  # fmt: skip
ProxyMode = Annotated[str, Meta(extra_json_schema={"x-shelf": "modes"})]
UnderlayName = Annotated[str, Meta(extra_json_schema={"x-shelf": "underlays"})]
PolicyName = Annotated[str, Meta(extra_json_schema={"x-shelf": "dataplanes"})]
NetworkName = Annotated[
    str,
    Meta(
        description="a built-in network, or the path of a .conflist beside the scenario",
        extra_json_schema={"anyOf": [{"x-shelf": "networks"}, {"pattern": r"\.conflist$"}]},
    ),
]


def on_shelf(key: str, name: str | None, shelf: Shelf[Any]) -> None:
    """Raises ValueError, as `typed.py` reads it, for a name that is not on the shelf."""
    if name is not None and name not in shelf:
        raise ValueError(f"`{key}` is none of {' '.join(sorted(shelf))}")


Port = Annotated[int, Meta(ge=1, le=65535)]
KubernetesVersion = Annotated[
    str,
    Meta(
        pattern=r"^v1\.\d{1,3}(\.\d{1,3})?$",
        description="a release of Kubernetes, v1.31 or v1.31.4: which conntrack entries its kube-proxy deletes",
    ),
]
Duration = Annotated[str | float, Meta(description="a duration: 5s, 200ms, or a number of seconds; at most 168h")]
Source = Annotated[str, Meta(description="NS/POD, pod/NAME, node/NAME or external; a glob takes every matching pod")]


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=field_name):
    """Base of every part: unknown keys are errors."""


class TaintPart(Part, frozen=True):
    """A taint of a node, as a Node object has it."""

    key: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    value: str = ""


Mtu = Annotated[int, Meta(ge=68, le=65521)]
Gateway = Annotated[
    str | bool | None,
    Meta(description="an address; true: the LAN's gateway; false: no default route by this interface"),
]


class LanPart(Part, frozen=True):
    """One LAN of the underlay: a switch. The router is on it with the address `gateway` (true: the subnet's first; false: it is
    not on it)."""

    name: str
    subnet: str
    gateway: str | bool = True
    mtu: Mtu = 1500


class InterfacePart(Part, frozen=True):
    """One interface of a node: on a LAN (`lan`, or the one that its address lies in); with `underlay: routed` also on a cable of its own
    to the router. An address of "" is the LAN's next free one. The first interface that can have it has the default route."""

    name: str = "eth0"
    lan: str = ""
    address: str = ""
    mac: str = ""
    mtu: Mtu | None = None
    gateway: Gateway = None


class AddressPart(Part, frozen=True):
    """An address as a Node's status has it. The InternalIP is that of an interface."""

    type: Literal["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]
    address: str


class NodePart(Part, frozen=True):
    """One node; a pod CIDR of "" is the next part of podSubnet. `labels` come beside those that its kubelet sets. Without
    `interfaces` it has eth0 alone. `dump` is a folder or tar of what commands printed on it (tools/collect), which replaces what emu computes."""

    name: str
    zone: str = ""
    region: str = ""
    pod_cidr: str = field(default="", name="podCIDR")
    labels: dict[str, str] = {}
    taints: tuple[TaintPart, ...] = ()
    addresses: tuple[AddressPart, ...] = ()
    interfaces: tuple[InterfacePart, ...] = ()
    dump: str = ""


class ExternalPart(Part, frozen=True):
    """A host outside the cluster: on a LAN, or behind the router by a cable of its own. `apps` listen there, each as APP@PORT or
    APP@PORT/udp; other ports refuse. A host called `external` is there in any case."""

    name: str
    lan: str = ""
    address: str = ""
    mac: str = ""
    mtu: Mtu | None = None
    gateway: Gateway = None
    apps: tuple[str, ...] | None = None


class ProxyIptables(Part, frozen=True):
    masquerade_all: bool = False
    masquerade_bit: Annotated[int, Meta(ge=0, le=31)] = 14
    localhost_node_ports: bool = True
    min_sync_period: Duration = 1.0
    sync_period: Duration = 30.0


class DetectLocal(Part, frozen=True):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class KubeProxyPart(Part, frozen=True):
    """KubeProxyConfiguration's own names."""

    mode: ProxyMode = "iptables"
    iptables: ProxyIptables = ProxyIptables()
    detect_local_mode: Literal["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"] = "ClusterCIDR"
    detect_local: DetectLocal = DetectLocal()
    cluster_cidr: str = field(default="", name="clusterCIDR")
    node_port_addresses: tuple[str, ...] = ()
    # these are accepted only, see kube_proxy.py
    api_version: Any = None
    kind: Any = None
    bind_address: Any = None
    bind_address_hard_fail: Any = None
    client_connection: Any = None
    config_sync_period: Any = None
    conntrack: Any = None
    enable_profiling: Any = None
    feature_gates: Any = None
    healthz_bind_address: Any = None
    hostname_override: Any = None
    ipvs: Any = None
    logging: Any = None
    metrics_bind_address: Any = None
    nftables: Any = None
    oom_score_adj: Any = None
    port_range: Any = None
    show_hidden_metrics_for_version: Any = None
    windows_run_as_service: Any = None
    winkernel: Any = None

    def __post_init__(self) -> None:
        on_shelf("mode", self.mode, modes)


class DnsPart(Part, frozen=True):
    """CoreDNS as kubeadm deploys it. `upstream` is what the outside's resolver knows, by name: an address, addresses, or
    another name. Other names do not exist there."""

    domain: str = "cluster.local"
    upstream: dict[str, str | tuple[str, ...]] = {}


Offloads = Annotated[
    bool,
    Meta(
        description="devices have the offloads that Linux switches on by default: veths and bridges carry TCP segments of up to "
        "64 kB, and checksums that are not finished; without them each frame is one that a cable could carry"
    ),
]


class ClusterPart(Part, frozen=True):
    """`network` is a built-in network's name or the path of a .conflist beside the scenario. No `underlay`: the one that the
    network usually lies on (vpc for aws-vpc, switched for kindnet, else routed).
    `policy` is what enforces NetworkPolicies, by default what comes with the network: nothing (`none`) with bridge, flat and flannel, and with aws-vpc
    unless its `enableNetworkPolicy` is true. No `podSubnet` is 10.244.0.0/16, or 10.128.0.0/9 where the nodes need more room.
    `routes` are further routes of the underlay's router, as `ip route` takes them; a gateway may be a node's name. Its routes to
    the nodes' pods are those that the network asks for, unless `configureCloudRoutes` is false.
    `kubernetesVersion` is read by kube-proxy alone, for the conntrack entries that it deletes after a change: all else is the same for
    every release. `cpus` of each node: with more than one, packets that a program sends at one time are handled
    at one time, and two first packets of one flow may each choose an endpoint. `endpointUpdatesBatchPeriod` is how long the EndpointSlice controller waits for more changes of pods.
    `live` true: the manifests are the export of a running cluster, which is taken as it is; by default that is known by their status."""

    live: bool | None = None
    nodes: Annotated[int, Meta(ge=1, le=5000)] | tuple[NodePart, ...] = 2
    network: NetworkName = "bridge"
    policy: PolicyName | None = None
    underlay: UnderlayName | None = None
    lans: tuple[LanPart, ...] = ()
    routes: tuple[str, ...] = ()
    configure_cloud_routes: bool = True
    external: tuple[ExternalPart, ...] = ()
    pod_subnet: str = ""
    node_cidr_mask_size: Annotated[int, Meta(ge=8, le=30)] = field(default=24, name="nodeCIDRMaskSize")
    service_subnet: str = "10.96.0.0/12"
    hairpin: bool = False
    cpus: Annotated[int, Meta(ge=1, le=64)] = 1
    offloads: Offloads = False
    dns: bool | DnsPart = False
    kubernetes_version: KubernetesVersion = "v1.36"
    kube_proxy: KubeProxyPart = KubeProxyPart()
    endpoint_updates_batch_period: Duration = 0.0
    sysctls: dict[str, int | str] = {}

    def __post_init__(self) -> None:
        on_shelf("policy", self.policy, dataplanes)
        on_shelf("underlay", self.underlay, underlays)


class EthLike(Part, frozen=True):
    """Fields of an Ethernet header: MACs are globs, `type` the EtherType."""

    src: str = ""
    dst: str = ""
    type: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None


class ArpLike(Part, frozen=True):
    """Fields of an ARP message; addresses are globs."""

    op: Literal["", "who-has", "is-at"] = ""
    psrc: str = ""
    pdst: str = ""
    hwsrc: str = ""
    hwdst: str = ""


class IpLike(Part, frozen=True):
    """Fields of an IPv4 header; addresses are globs. `flags`: DF, MF or both; `frag`: the offset in bytes."""

    src: str = ""
    dst: str = ""
    ttl: Annotated[int, Meta(ge=0, le=255)] | None = None
    tos: Annotated[int, Meta(ge=0, le=255)] | None = None
    id: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    proto: Annotated[int, Meta(ge=0, le=255)] | None = None
    flags: str | None = None
    frag: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None


AnyPort = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]


class TcpLike(Part, frozen=True):
    """Fields of a TCP segment. `flags` are letters of FSRPAUEC, as Scapy has them: all of them and no others. `seq` and `ack` count from
    the connection's first sequence numbers; `len` is that of the payload."""

    sport: AnyPort | None = None
    dport: AnyPort | None = None
    flags: str | None = None
    seq: Count | None = None
    ack: Count | None = None
    window: AnyPort | None = None
    len: Count | None = None
    mss: AnyPort | None = None
    wscale: Annotated[int, Meta(ge=0, le=255)] | None = None


class UdpLike(Part, frozen=True):
    """Fields of a UDP datagram; `len` is that of the payload."""

    sport: AnyPort | None = None
    dport: AnyPort | None = None
    len: Count | None = None


class IcmpLike(Part, frozen=True):
    """Fields of an ICMP message; `id` and `seq` are those of an echo, `mtu` that of fragmentation needed."""

    type: Annotated[int, Meta(ge=0, le=255)] | None = None
    code: Annotated[int, Meta(ge=0, le=255)] | None = None
    id: AnyPort | None = None
    seq: AnyPort | None = None
    mtu: AnyPort | None = None


class FrameLike(Part, frozen=True):
    """What a frame must be like: the fields that are given, and no others, are compared. A protocol without fields (`arp: {}`) must be
    there. `payload` is a glob. `inner` is what a tunnel's packet carries, `vni` its VXLAN network."""

    eth: EthLike | None = None
    arp: ArpLike | None = None
    ip: IpLike | None = None
    tcp: TcpLike | None = None
    udp: UdpLike | None = None
    icmp: IcmpLike | None = None
    payload: str | None = None
    vni: Count | None = None
    inner: FrameLike | None = None


class SeenPart(Part, frozen=True):
    """A frame that must be seen (`frame`), or must not be (`noFrame`): at an interface (`at`, a glob), in a direction, and from `notBefore`
    to `within` after a moment (`after`).

    The moments are `start` and `end` of the flow, the `name` of an entry above (the time of the first frame that it found), and the name of
    an earlier step (its start). Without `within` every frame up to now counts; a window that is not over yet is waited for.
    """

    name: str = ""
    at: str = "*"
    way: Literal["in", "out", "drop", "any"] = "any"
    after: str = "start"
    not_before: Duration = 0.0
    within: Duration | None = None
    frame: FrameLike | None = None
    no_frame: FrameLike | None = None


class Expect(Part, frozen=True):
    """The outcome that a flow must have. Texts are globs.

    `at`: the namespace that received it. `dnat`, `snat`: the address (`IP:PORT` or `IP`) that the destination or source became;
    "none": it was not changed. `tunnel`: what carried its packets, one way or the other: `vxlan 192.168.51.11 -> 192.168.52.12`, `ipip ...`;
    "none": nothing did. `reason`: a drop's reason or an error's errno; `code`: a rejection's ICMP
    code. `place`, `by`: where it ended, and by which rule. `policy`: which policy forbade it, such as `ingress of shop/db: isolated by shop/p, no
    rule allows`, or a part of that; "none": none did. `received`: the answer. `frames`: how many in all. `seen`: single frames of
    the flow, with their places and times.
    """

    outcome: OutcomeWord = "delivered"
    at: str = ""
    dnat: str = ""
    snat: str = ""
    tunnel: str = ""
    reason: str = ""
    code: str = ""
    place: str = ""
    by: str = ""
    policy: str = ""
    received: str | None = None
    frames: Annotated[int, Meta(ge=0)] | None = None
    seen: tuple[SeenPart, ...] = ()


class StoryLine(Part, frozen=True):
    """A sentence for the comments of some frames: those on an interface (`at`, a glob), of a direction, and whose
    one-line text matches the glob `when` (`*ARP who-has*`, `*[[]S] *`).

    A line of a known explanation has the number of its `step` there (`"4"`, `"2 and 3"`), which comments show before the sentence:
    `leg` is the packet's way or that of its answer, `chapter` the part of the explanation that is numbered ("": its main part),
    `how` what differs from it (`on AWS`).
    """

    says: str
    at: str = "*"
    way: Literal["in", "out", "drop", "any"] = "any"
    when: str = "*"
    step: str = ""
    leg: Literal["there", "back"] = "there"
    chapter: str = ""
    how: str = ""


class Step(Part, frozen=True):
    """Exactly one action, with a name, an expectation and a story where wanted. `label` is the word of its frames in the file of
    `--labels`.

    A step that changes objects ends when the cluster has followed: rules are up to date, deleted pods are gone. With
    `settle: false` it ends at once, and the cluster follows while the next steps take their time.
    """

    name: str = ""
    label: str = ""
    story: str | tuple[StoryLine, ...] = ""
    expect: Expect | None = None
    settle: bool = True

    @property
    def given(self) -> list[str]:
        """The actions that the step has, in the order of its shape (`shape.py` adds a field for each action)."""
        fields = self.__struct_fields__[len(Step.__struct_fields__) :]
        return [name for name in fields if getattr(self, name) is not None]

    @property
    def action(self) -> str:
        """The key of its action."""
        return self.given[0]

    @property
    def part(self) -> Any:
        """The value of its action."""
        return getattr(self, self.action)


class Mistake(Part, frozen=True):
    """A scenario that shows a mistake and its cure, in sentences for people who meet it.

    `seen`: the symptom, as its users see it. `cause`: what was done, and the rule, route or table entry that decides, and
    why. `find`: the command on a real node that shows it. `cure`: what mends it; later steps of the scenario do so and send
    the same flow again, or the scenario that `curedIn` names does. `report`: public reports of people who met it.
    """

    seen: str
    cause: str
    find: str
    cure: str
    cured_in: str = ""
    report: tuple[
        Annotated[str, Meta(pattern=r"^[\w.-]+/[\w.-]+#\d+$", description="OWNER/REPOSITORY#NUMBER")], ...
    ] = ()


class Look(Part, frozen=True):
    """Frames to look at: a file of the scenario's captures, a display filter of Wireshark, and what it shows."""

    file: str
    filter: str
    see: str


class Metadata(Part, frozen=True):
    name: str = ""
    description: str = ""
    mistake: Mistake | None = None
    look: tuple[Look, ...] = ()


class ScenarioPart(Part, frozen=True):
    """One scenario. `seed` is that of every random draw. `invariants`, by name or `all`, hold over the whole run besides the three
    requirements that Kubernetes makes of networks."""

    api_version: Literal["emu/v1"]
    kind: Literal["Scenario"]
    metadata: Metadata = Metadata()
    seed: int = 0
    cluster: ClusterPart = ClusterPart()
    manifests: tuple[str, ...] = ()
    invariants: Literal["all"] | tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
