"""What a cluster was given that is not modelled: its warnings, and the flows that are undecided by it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import emu
from emu.kube.api.loader import load_text
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.keys import COMMON, Keys, remarks
from emu.kube.cni.spec import plugins
from emu.modelled import NotModelled, Used, WithoutEffect

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 81}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-node, labels: {app: on-node}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.20, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
"""
POLICY = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: "


def cluster(more: str = "", *, capture: bool = True, **config: object) -> emu.Cluster:
    objects = load_text(CLIENT + more).objects
    return emu.Cluster(emu.ClusterConfig.of(2, **config), objects, capture=capture)


@pytest.mark.parametrize("capture", [True, False], ids=["captured", "not captured"])
@pytest.mark.usefixtures("unknown_dataplane")
@pytest.mark.parametrize(
    ("spec", "source", "target", "selected"),
    [
        ("{podSelector: {}, policyTypes: [Ingress]}", "default/client", "default/web:80", "default/web for Ingress"),
        ("{podSelector: {}}", "default/client", "svc/web:80", "default/web for Ingress"),
        ("{podSelector: {}}", "external", "node/node-1:30080", "default/web for Ingress"),
        ("{podSelector: {matchLabels: {app: client}}}", "default/client", "default/web:80", ""),
        ("{podSelector: {}, policyTypes: [Egress]}", "default/client", "default/web:80", "default/client for Egress"),
        ("{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}", "default/client", "node/node-2:8080", "default/client for Egress"),
        ("{podSelector: {matchLabels: {app: client}}, egress: [{ports: [{port: 53}]}]}", "default/client", "external:7", "default/client for Egress"),
        # an empty rule allows everything
        ("{podSelector: {}, ingress: [{}]}", "default/client", "default/web:80", ""),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", "default/client", "default/web:80", ""),
        # the node of a pod may always come to it, and it to its node; a pod reaches itself
        ("{podSelector: {}}", "node/node-2", "default/web:80", ""),
        ("{podSelector: {}}", "node/node-1", "default/web:80", "default/web for Ingress"),
        ("{podSelector: {}, policyTypes: [Egress]}", "default/client", "node/node-1:30080", "default/client for Egress"),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", "default/client", "default/client:81", ""),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", "default/client", "127.0.0.1:81", ""),
        # pods of the host's network are not selected
        ("{podSelector: {}}", "default/client", "node/node-2:8080", ""),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", "default/on-node", "default/web:80", ""),
        ("{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}", "default/client", "default/web:80", ""),
    ],
)  # fmt: skip
def test_a_flow_of_a_pod_that_a_policy_selects(
    spec: str, source: str, target: str, selected: str, capture: bool
) -> None:
    made = cluster(POLICY + spec, capture=capture, network="kindnet")
    flow = made.tcp(source, target, b"x", timeout_s=1)
    if selected:
        detail = f"networkpolicy/deny selects {selected}, and what enforces it is not modelled"
        assert (flow.outcome.word, flow.outcome.detail) == ("undecided", detail)
        assert flow.outcome.by == "networkpolicy/deny" and flow.outcome.place == selected.partition(" ")[0]
    else:
        assert flow.outcome.word == "delivered"
    assert made.warnings == [
        "networkpolicy/deny: what enforces it with network kindnet is not modelled: a flow of a pod that it selects is undecided"
    ]


@pytest.mark.parametrize(
    ("network", "other"),
    [
        ("bridge", "kube-router"),
        ("flat", "kube-router"),
        ("flannel", "kube-router"),
        ("aws-vpc", "aws-network-policy-agent"),
    ],
)
def test_a_network_that_enforces_nothing_is_one_warning(network: str, other: str) -> None:
    made = cluster(
        POLICY + "{podSelector: {}}\n" + POLICY.replace("deny", "other") + "{podSelector: {}}", network=network
    )
    assert made.tcp("default/client", "default/web:80", b"x").delivered
    what = f"network {network} enforces no policy: networkpolicy/deny has no effect, nor has any other"
    assert made.warnings == [f"cluster.policy: {what} (policy: {other} enforces them)"]
    made.apply(load_text((POLICY + "{podSelector: {}}").replace("deny", "third").removeprefix("---\n")).objects[0])
    assert len(made.warnings) == 1


def test_a_kind_that_a_dataplane_does_not_know_is_a_warning() -> None:
    text = "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: all}, spec: {tier: Admin, priority: 1, subject: {namespaces: {}}}}"
    made = cluster("---\n" + text, policy="kube-router")
    assert made.warnings == [
        "clusternetworkpolicy/all: kube-router enforces no ClusterNetworkPolicy, so that it has no effect"
    ]


def test_no_dataplane_has_that_name() -> None:
    with pytest.raises(emu.InputError, match="no policy dataplane is called 'kube-ruter'"):
        cluster(policy="kube-ruter")


@pytest.mark.usefixtures("unknown_dataplane")
def test_a_policy_of_another_namespace_selects_nothing_here() -> None:
    policy = POLICY.replace("{name: deny}", "{name: deny, namespace: other}") + "{podSelector: {}}"
    namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n"
    assert cluster(namespace + policy, network="kindnet").tcp("default/client", "default/web:80").delivered


@pytest.mark.usefixtures("unknown_dataplane")
@pytest.mark.parametrize("kind", ["udp", "ping", "send", "more"])
def test_every_kind_of_flow(kind: str) -> None:
    made = cluster(network="kindnet")
    opened = made.tcp("default/client", "default/web:80", b"x", close=False)
    assert opened.delivered and made.warnings == []
    made.apply(load_text(POLICY.removeprefix("---\n") + "{podSelector: {}}").objects[0])
    assert len(made.warnings) == 1
    address = str(made.resolve("default/web:80")).partition(":")[0]
    flow = {
        "udp": lambda: made.udp("default/client", "default/web:80"),
        "ping": lambda: made.ping("default/client", "default/web"),
        "send": lambda: made.send("default/client", f"IP(dst='{address}')/ICMP()"),
        "more": lambda: made.more(opened, b"y"),
    }[kind]()
    assert flow.outcome.word == "undecided"
    made.delete("networkpolicy", "default", "deny")
    assert made.udp("default/client", "default/web:80").delivered


@pytest.mark.usefixtures("unknown_dataplane")
def test_a_look_up_depends_on_the_policies_of_coredns() -> None:
    policy = POLICY.replace("{name: deny}", "{name: dns, namespace: kube-system}") + "{podSelector: {}}"
    made = emu.Cluster(emu.ClusterConfig.of(2, dns=emu_dns(), network="kindnet"), load_text(CLIENT + policy).objects)
    assert made.tcp("default/client", "http://web", b"x").outcome.place.startswith("kube-system/coredns")
    assert made.tcp("default/client", "svc/web:80", b"x").delivered


def emu_dns() -> object:
    from emu.kube.dns.zone import DnsConfig

    return DnsConfig()


def test_an_error_before_the_first_packet_stays_what_it_is() -> None:
    made = cluster(POLICY + "{podSelector: {}, policyTypes: [Egress]}")
    assert made.tcp("default/client", "default/web:80", port=81).outcome.detail == "EADDRINUSE"


def test_host_aliases() -> None:
    pod = """---
apiVersion: v1
kind: Pod
metadata: {name: aliased}
spec: {hostAliases: [{ip: 10.244.2.2, hostnames: [db.example]}], containers: [{name: c}]}
"""
    made = emu.Cluster(emu.ClusterConfig.of(2, dns=emu_dns()), load_text(CLIENT + pod).objects)
    assert made.warnings == [
        "line 25: pod/aliased: spec.hostAliases is not modelled: the pod's /etc/hosts does not have them"
    ]
    assert made.resolve_name("default/aliased", "db.example").outcome.word == "undecided"
    assert made.resolve_name("default/client", "db.example").outcome.word == "error"


# -- sysctls ------------------------------------------------------------------------------------


def test_a_sysctl_of_all_nodes_is_reported_once() -> None:
    made = cluster(sysctls={"net.ipv4.tcp_ecn": 1, "net.ipv4.tcp_sack": 0, "net.netfilter.nf_conntrack_events": 1})
    text = "net.ipv4.tcp_ecn = 1 is not modelled: ECN (the flags of SYNs, the ECN bits of IP)"
    assert made.warnings == [f"cluster.sysctls: {text}"]
    assert made.tcp("default/client", "default/web:80", b"x").delivered


def test_a_sysctl_that_is_written_later_is_reported() -> None:
    made = cluster()
    made.netns("default/web").sysctl["net.ipv4.conf.all.proxy_arp_pvlan"] = 1
    made.netns("default/web").sysctl["net.ipv4.conf.all.proxy_arp_pvlan"] = 1
    made.netns("node/node-1").sysctl["net.ipv4.tcp_timestamps"] = 0
    assert made.warnings == [
        "default/web: net.ipv4.conf.all.proxy_arp_pvlan = 1 is not modelled: ARP that a device answers for its own link"
    ]


@pytest.mark.parametrize("capture", [True, False], ids=["captured", "not captured"])
@pytest.mark.parametrize(
    ("where", "source", "target", "undecided"),
    [
        ("default/web", "default/client", "default/web:80", True),
        ("default/web", "default/client", "node/node-2:8080", False),
        ("default/web", "node/node-1", "svc/web:80", True),
        ("default/client", "default/client", "external:7", True),
        ("node-1", "default/client", "default/web:80", True),
        ("node-2", "default/client", "default/web:80", True),
        ("node-2", "default/client", "svc/web:80", True),
        ("node-2", "default/client", "external:7", False),
        ("node-1", "external", "node/node-2:30080", True),
        ("external", "external", "node/node-2:30080", True),
    ],
)
def test_a_sysctl_that_decides_fates(where: str, source: str, target: str, undecided: bool, capture: bool) -> None:
    made = cluster(capture=capture)
    sysctl = made.namespaces[where].sysctl
    sysctl["net.ipv4.conf.all.proxy_arp_pvlan"] = 1
    text = "net.ipv4.conf.all.proxy_arp_pvlan = 1 is not modelled: ARP that a device answers for its own link"
    flow = made.tcp(source, target, b"x")
    assert flow.outcome.word == ("undecided" if undecided else "delivered")
    if undecided:
        assert (flow.outcome.detail, flow.outcome.place) == (text, where)
    assert made.warnings == [f"{where}: {text}"]
    sysctl["net.ipv4.conf.all.proxy_arp_pvlan"] = 0
    assert made.tcp(source, target, b"x").delivered


# -- CNI ----------------------------------------------------------------------------------------


def conflist(bridge: dict[str, object] | None = None, ipam: dict[str, object] | None = None, **more: object) -> str:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]} | (
        ipam or {}
    )
    plugin = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipam": ipam} | (bridge or {})
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin], **more})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (conflist(), []),
        (conflist({"ismasq": True}), ['plugin bridge: unknown key "ismasq" (expected "ipMasq"?)']),
        (conflist({"enabledad": True, "mtu": 1500, "vlan": 0}), []),
        (conflist(ipam={"dataDirs": "/x"}), ['plugin host-local: unknown key "dataDirs" (expected "dataDir"?)']),
        (
            conflist(ipam={"ranges": [[{"subnet": "{{.PodCIDR}}", "rangestart": "10.244.1.9"}]]}),
            ['plugin host-local: unknown key "ranges.rangestart" (expected "rangeStart"?)'],
        ),
        (
            conflist(ipam={"routes": [{"dst": "0.0.0.0/0", "advmss": 500}]}),
            ['plugin host-local: "routes.advmss" is not modelled: the MSS of a route'],
        ),
        (conflist(disablecheck=True), ['network net: unknown key "disablecheck" (expected "disableCheck"?)']),
    ],
)
def test_keys_of_a_network(text: str, found: list[str]) -> None:
    assert emu.Cluster(emu.ClusterConfig.of(2, network=text), load_text(CLIENT).objects).warnings == found


def test_a_file_names_its_place(tmp_path: Path) -> None:
    file = tmp_path / "net.conflist"
    file.write_text(conflist({"ipmasc": True}))
    config = emu.ClusterConfig.of(2, network=str(file))
    assert emu.Cluster(config).warnings == [f'{file}: plugin bridge: unknown key "ipmasc" (expected "ipMasq"?)']


def test_a_key_that_no_plugin_can_do_without_is_still_an_error() -> None:
    with pytest.raises(emu.InputError, match="'ipMasqBackend: nftables' is not modelled"):
        nftables = {"ipMasq": True, "ipMasqBackend": "nftables"}
        emu.Cluster(emu.ClusterConfig.of(2, network=conflist(nftables)), load_text(CLIENT).objects)


@pytest.mark.parametrize("name", [*plugins])
def test_every_key_of_a_plugin_is_read_or_reported(name: str) -> None:
    keys = getattr(plugins[name], "keys", None)
    assert keys is not None, "a plugin declares its keys"
    for path, row in leaves({**COMMON, **keys}):
        if isinstance(row, Used):
            assert any(
                re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", path[-1]) in names_in(each) for each in row.readers
            ), path
        else:
            found = [what for key, what in found_in(name, path) if key == f"plugin {name}"]
            where = ".".join(path)
            assert found == ([f'"{where}" is not modelled: {row.what}'] if isinstance(row, NotModelled) else []), path


def leaves(
    keys: Keys, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Used | WithoutEffect | NotModelled]]:
    for key, row in keys.items():
        if isinstance(row, Mapping):
            yield from leaves(row, (*path, key))
        else:
            yield (*path, key), row


def names_in(module: str) -> set[str]:
    """Attributes that a module reads, parameters that it names, and strings: a key is read as one of them."""
    tree = ast.parse((Path(emu.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found | {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", each) for each in strings}


def found_in(name: str, path: tuple[str, ...]) -> list[tuple[str, str]]:
    """What is reported of one key of a plugin that is set."""
    value: object = "away from the default"
    for key in reversed(path[1:]):
        value = [{key: value}]
    plugin = {"type": name, path[0]: value} | ({"type": name} if path[0] == "type" else {})
    return [*remarks(NetworkConfigList("net", "1.0.0", (plugin,)))]


# -- manifests ----------------------------------------------------------------------------------


def test_a_misspelt_field_comes_with_the_objects() -> None:
    objects = load_text(CLIENT.replace("clusterIP:", "clusterIp:"), "f.yaml").objects
    assert emu.Cluster(2, objects).warnings == [
        'f.yaml:20: service/web: unknown field "spec.clusterIp" (expected "clusterIP"?)'
    ]


def test_objects_made_in_code_are_reported_too() -> None:
    objects = load_text(CLIENT.replace("type: NodePort", "type: NodePort, trafficDistribution: PreferClose")).objects
    text = (
        'service/web: spec.trafficDistribution "PreferClose" is not modelled: every endpoint is as likely, near or far'
    )
    assert emu.Cluster(2, list(objects)).warnings == [text]
    assert emu.Cluster(2, objects).warnings == [f"line 20: {text}"]
