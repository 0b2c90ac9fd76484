"""`aws-vpc`: what a pod and its node get, ipamd's pool and its limits, and that nothing stays behind."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.api import core
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.cni.plugins.aws_cni import IPAMD, AwsCniPlugin, AwsConf, veth_name
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, CniError, Host
from emu.kube.networks.aws_vpc import pool
from emu.kube.networks.aws_vpc.host_network import rules_of
from emu.kube.networks.aws_vpc.ipamd import Ipamd
from emu.kube.networks.aws_vpc.limits import INSTANCE_TYPES, limits_of
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.aws_vpc.pool import Filled
from emu.scenario.script import load_text as load_scenario
from emu.wire.addr import Prefix, mac_text
from emu.wire.frame import AF_INET

DUMP = Path(__file__).parents[2] / "data" / "iptables-dumps" / "aws-vpc-cni.rules"
NANO, SMALL = AwsOptions(instance_type="t3.nano"), AwsOptions(instance_type="t3.small")


def pods(*names: str, node: str = "node-1", more: str = "") -> str:
    return "\n---\n".join(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, "
        f"spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, "
        f"containers: [{{name: c, ports: [{{containerPort: 80{more}}}]}}]}}}}"
        for name in names
    )


def cluster(*manifests: str, nodes: int = 1, options: AwsOptions = NANO) -> Cluster:
    config = ClusterConfig.of(nodes, network="aws-vpc", underlay="vpc", network_options=options)
    return Cluster(config, load_text("\n---\n".join(manifests)).objects if manifests else ())


@cache
def two() -> Cluster:
    """A pod behind each interface of a t3.nano; no test changes it."""
    return cluster(pods("one", "two"))


def net(made: Cluster, name: str = "node-1") -> Netns:
    return made.nodes[name].net


def ipamd(made: Cluster, name: str = "node-1") -> Ipamd:
    found: Ipamd = net(made, name).programs[IPAMD]
    return found


def rules(node: Netns) -> list[str]:
    return [each.text() for each in node.ipv4.fib.rules]


def routes(node: Netns, table: int = 254) -> list[str]:
    return [each.text() for each in node.ipv4.fib.tables[table]]


def counts(made: Cluster, name: str = "node-1") -> dict[str, int]:
    """How many addresses for pods each interface has."""
    return {eni.device: len(eni.addresses) - 1 + 16 * len(eni.prefixes) for eni in ipamd(made, name).instance.enis}


def waiting(made: Cluster) -> list[str]:
    return [pod.name for pod in made.store.list(core.Pod) if not pod.status.pod_ip]


# -- a pod and its node -----------------------------------------------------------------------------------------------


def test_a_pod_has_a_slash_32_and_a_permanent_neighbour() -> None:
    pod = two().pods["default/one"].net
    (address,) = [str(each) for each in pod.ipv4.addresses if each.device.name == "eth0"]
    assert address == "10.0.0.100/32"
    assert routes(pod) == ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    veth = net(two()).device(veth_name("eni", "default", "one"))
    (entry,) = pod.device("eth0").neigh[AF_INET].values()
    assert entry.text() == f"169.254.1.1 dev eth0 lladdr {mac_text(veth.mac)} PERMANENT"
    assert (pod.device("eth0").mtu, veth.mtu) == (9001, 9001)


def test_the_hosts_end_is_called_by_the_pods_name() -> None:
    """As `printf default.one | sha1sum` prints it, the first 11 digits."""
    assert veth_name("eni", "default", "one") == "enid65259db43f"


def test_a_node_has_a_rule_for_each_pod_and_a_table_for_each_further_interface() -> None:
    node = net(two())
    assert rules(node) == [
        "0: from all lookup local",
        "512: from all to 10.0.0.100 lookup main",
        "512: from all to 10.0.0.102 lookup main",
        "1024: from all fwmark 0x80/0x80 lookup main",
        "1536: from 10.0.0.102 lookup 2",
        "32766: from all lookup main",
        "32767: from all lookup default",
    ]
    assert routes(node) == [
        "default via 10.0.0.1 dev eth0",
        "10.0.0.0/20 dev eth0 proto kernel scope link src 10.0.0.11",
        f"10.0.0.100 dev {veth_name('eni', 'default', 'one')} scope link",
        f"10.0.0.102 dev {veth_name('eni', 'default', 'two')} scope link",
    ]
    assert routes(node, 2) == ["default via 10.0.0.1 dev eth1", "10.0.0.1 dev eth1 scope link"]
    assert node.sysctl["net.ipv4.conf.eth0.rp_filter"] == 2


def test_the_rules_are_those_of_a_node_of_eks() -> None:
    """AWS's own lines of a dump, in their order; the node's addresses and device put in."""
    named = {"10.30.0.0/16": "10.0.0.0/16", "10.30.1.10": "10.0.0.11", "ens5": "eth0"}
    text = re.sub("|".join(map(re.escape, named)), lambda found: named[found[0]], DUMP.read_text())
    theirs, ours = (
        [line for line in each.splitlines() if line.startswith("-A") and "AWS" in line]
        for each in (text, net(two()).ipv4.tables.save())
    )
    assert sorted(theirs) == sorted(ours)
    for chain in ("PREROUTING", "POSTROUTING", "AWS-SNAT-CHAIN-0", "AWS-CONNMARK-CHAIN-0"):
        start = f"-A {chain} "
        one, other = ([line for line in lines if line.startswith(start)] for lines in (theirs, ours))
        assert one == other


def test_kube_proxy_comes_before_awss_chains() -> None:
    text = net(two()).ipv4.tables.save()
    nat = text.partition("*nat")[2]
    jumps = re.findall(r"^-A PREROUTING .*-j (\S+)", nat, re.M)
    assert jumps[:2] == ["KUBE-SERVICES", "AWS-CONNMARK-CHAIN-0"]
    assert re.findall(r"^-A POSTROUTING .*-j (\S+)", nat, re.M) == ["KUBE-POSTROUTING", "AWS-SNAT-CHAIN-0"]


def test_services_masquerade_no_pod() -> None:
    """EKS gives kube-proxy no clusterCIDR."""
    made = cluster(
        pods("one", "two"),
        "{apiVersion: v1, kind: Service, metadata: {name: two}, spec: {selector: {app: two}, ports: [{port: 80}]}}",
    )
    assert "! -s" not in "".join(line for line in net(made).ipv4.tables.save().splitlines() if "cluster IP" in line)
    flow = made.tcp("default/one", "svc/two:80", b"x")
    assert flow.delivered and not flow.snat


# -- options ----------------------------------------------------------------------------------------------------------


def texts(options: AwsOptions) -> list[str]:
    made = rules_of(options, [Prefix.parse("10.0.0.0/16")], "10.0.0.11", "eth0")
    return [f"{each.table} {each.chain} {' '.join(each.words)}" for each in made]


def test_external_snat_leaves_pods_their_addresses() -> None:
    """Only the rules for NodePorts stay; the pod's packet leaves by its own interface, which has no public address."""
    external = AwsOptions(instance_type="t3.nano", external_snat=True)
    assert [line.split(" ")[0] for line in texts(external)] == ["mangle"] * 3
    made = cluster(pods("one", "two"), options=external)
    flow = made.ping("default/two", "external")
    assert (flow.outcome.detail, flow.outcome.place) == ("NO_PUBLIC_ADDRESS", "vpc/port1.1")
    assert "10.0.0.102" in flow.outcome.by


@pytest.mark.parametrize(
    ("kind", "ending"), [("prng", "--random-fully"), ("hashrandom", "--random"), ("none", "10.0.0.11")]
)
def test_snat_draws_its_port_as_asked(kind: str, ending: str) -> None:
    options = AwsOptions(randomize_snat=kind)  # type: ignore[arg-type]  # of the table
    (line,) = [each for each in texts(options) if "--to-source" in each]
    assert line.split(" ")[-1] == ending


def test_excluded_cidrs_are_tried_first() -> None:
    lines = [each for each in texts(AwsOptions(exclude_snat_cidrs="172.16.0.0/12, 192.168.0.0/16")) if "RETURN" in each]
    assert [re.findall(r"-d (\S+)", line)[0] for line in lines][:3] == [
        "10.0.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ]
    made = cluster(pods("one"), options=AwsOptions(exclude_snat_cidrs="203.0.113.0/24"))
    saved = [line for line in net(made).ipv4.tables.save().splitlines() if line.startswith("-A AWS-SNAT-CHAIN-0")]
    assert ["EXCLUSION" in line for line in saved] == [True, False, False], "each CIDR was inserted at the head"


def test_without_node_port_support_no_packet_is_marked_by_its_interface() -> None:
    assert not [line for line in texts(AwsOptions(node_port_support=False)) if "set-mark" in line or "vlan+ -j" in line]
    assert len([line for line in texts(AwsOptions(node_port_support=False)) if line.startswith("mangle")]) == 1


def test_the_mtu_is_that_of_interfaces_and_pods() -> None:
    made = cluster(pods("one", "two"), options=AwsOptions(instance_type="t3.nano", eni_mtu=1500))
    node = net(made)
    assert {node.device(name).mtu for name in ("eth0", "eth1", veth_name("eni", "default", "one"))} == {1500}


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ("instanceType: m5.huge", 'cluster["aws-vpc"].instanceType|cluster.aws-vpc.instanceType'),
        ("WARM_ENI_TARGETS: 1", "WARM_ENI_TARGET"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS: nowhere", "EXCLUDE_SNAT_CIDRS"),
        ("AWS_VPC_ENI_MTU: 10000", "AWS_VPC_ENI_MTU"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_place(options: str, place: str) -> None:
    text = (
        f"apiVersion: emu/v1\nkind: Scenario\ncluster:\n  network: aws-vpc\n  underlay: vpc\n  aws-vpc: {{{options}}}\n"
    )
    with pytest.raises(InputError) as wrong:
        load_scenario(text, "story.yaml")
    assert any(each in str(wrong.value) for each in place.split("|"))
    assert str(wrong.value).startswith("story.yaml:")


@pytest.mark.parametrize("underlay", ["routed", "switched"])
def test_without_a_vpc_the_network_is_refused(underlay: str) -> None:
    with pytest.raises(InputError, match=r"node-1 is no instance of a VPC .*expected vpc"):
        Cluster(ClusterConfig.of(1, network="aws-vpc", underlay=underlay))


def test_a_list_of_ones_own_with_the_plugin_has_the_network_behind_it(tmp_path: Path) -> None:
    """10-aws.conflist as a node of EKS has it: ipamd runs, and the nodes are in a VPC."""
    plugins = [
        {"name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "1500", "pluginLogLevel": "DEBUG"},
        {"name": "egress-cni", "type": "egress-cni", "mtu": "9001", "enabled": "false"},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ]
    path = tmp_path / "10-aws.conflist"
    path.write_text(json.dumps({"cniVersion": "0.4.0", "name": "aws-cni", "plugins": plugins}))
    made = Cluster(ClusterConfig.of(1, network=str(path)), load_text(pods("one")).objects)
    assert made.config.underlay == "vpc" and made.warnings == []
    pod = made.pods["default/one"].net
    assert (pod.device("eth0").mtu, [str(each) for each in pod.ipv4.addresses][1]) == (1500, "10.0.0.100/32")


# -- the pool ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "prefixes", "expected"),
    [
        ("t3.small", False, 11),
        ("m5.large", False, 29),
        ("m4.4xlarge", False, 234),
        ("t3.small", True, 146),
        ("t3.nano", False, 4),
    ],
)
def test_max_pods(kind: str, prefixes: bool, expected: int) -> None:
    """The numbers of AWS's eni-max-pods.txt, and of its calculator for prefixes."""
    assert limits_of(kind).max_pods(prefixes=prefixes) == expected


def test_every_type_has_room_for_pods() -> None:
    assert all(each.enis >= 2 and each.slots >= 1 for each in INSTANCE_TYPES.values())


@pytest.mark.parametrize(
    ("have", "options", "wanted"),
    [
        # WARM_ENI_TARGET=1: an interface's worth of addresses stays free
        ((Filled(0, 0),), {}, {0: 3}),
        ((Filled(0, 3, 0),), {}, {0: 3}),
        ((Filled(0, 3, 1),), {}, {0: 3, 1: 3}),
        ((Filled(0, 3, 3), Filled(1, 3, 0)), {}, {0: 3, 1: 3}),
        ((Filled(0, 3, 3), Filled(1, 3, 1)), {}, {0: 3, 1: 3, 2: 3}),
        ((Filled(0, 3, 3), Filled(1, 3, 3), Filled(2, 3, 3)), {}, {0: 3, 1: 3, 2: 3}),
        ((Filled(0, 3, 0), Filled(1, 3, 0)), {}, {0: 3}),
        ((Filled(0, 3, 0), Filled(1, 3, 1), Filled(2, 3, 0)), {}, {0: 3, 1: 3}),
        # no warm interface: one more only when no address is free
        ((Filled(0, 3, 2),), {"warm_eni_target": 0}, {0: 3}),
        ((Filled(0, 3, 3),), {"warm_eni_target": 0}, {0: 3, 1: 3}),
        ((Filled(0, 3, 1),), {"warm_eni_target": 2}, {0: 3, 1: 3, 2: 3}),
        ((Filled(0, 3, 3),), {"max_eni": 1}, {0: 3}),
        # targets in addresses; 0 is none
        ((Filled(0, 3, 1),), {"warm_ip_target": 0}, {0: 3, 1: 3}),
        ((Filled(0, 0),), {"warm_ip_target": 1}, {0: 1}),
        ((Filled(0, 1, 1),), {"warm_ip_target": 1}, {0: 2}),
        ((Filled(0, 3, 3),), {"warm_ip_target": 2}, {0: 3, 1: 2}),
        ((Filled(0, 3, 0),), {"warm_ip_target": 1}, {0: 1}),
        ((Filled(0, 0),), {"minimum_ip_target": 5}, {0: 3, 1: 2}),
        ((Filled(0, 3, 1), Filled(1, 2, 0)), {"minimum_ip_target": 4, "warm_ip_target": 1}, {0: 3, 1: 1}),
        # prefixes: one is kept warm
        ((Filled(0, 0),), {"prefix_delegation": True}, {0: 1}),
        ((Filled(0, 1, 1),), {"prefix_delegation": True}, {0: 2}),
        ((Filled(0, 3, 40),), {"prefix_delegation": True}, {0: 3, 1: 1}),
        ((Filled(0, 1, 1),), {"prefix_delegation": True, "warm_ip_target": 5}, {0: 1}),
    ],
)
def test_a_plan_of_the_pool(have: tuple[Filled, ...], options: dict[str, int | bool], wanted: dict[int, int]) -> None:
    """Three interfaces with three slots each (t3.small)."""
    made = pool.plan(have, AwsOptions(instance_type="t3.small", **options))  # type: ignore[arg-type]  # of the table
    assert {each.number: each.slots for each in made} == wanted
    stable = tuple(
        each._replace(used=next((one.used for one in have if one.number == each.number), 0)) for each in made
    )
    assert pool.plan(stable, AwsOptions(instance_type="t3.small", **options)) == made  # type: ignore[arg-type]


def test_the_first_interface_is_filled_before_there_are_pods() -> None:
    assert counts(cluster(options=SMALL)) == {"eth0": 3}


def test_a_warm_interface_comes_with_the_first_pod_and_goes_with_the_last() -> None:
    made = cluster(options=SMALL)
    made.apply(load_text(pods("one")).objects[0])
    assert counts(made) == {"eth0": 3, "eth1": 3}
    assert net(made).device("eth1").up and routes(net(made), 2)[0] == "default via 10.0.0.1 dev eth1"
    made.delete("Pod", "default", "one")
    assert counts(made) == {"eth0": 3, "eth1": 3}, "its address cools down"
    made.wait(61)
    assert counts(made) == {"eth0": 3}
    assert "eth1" not in net(made).devices and "port1.1" not in made.underlay.net.devices


def test_a_freed_address_is_given_again_after_it_has_cooled_down() -> None:
    made = cluster(pods("one"), options=AwsOptions(instance_type="t3.small", warm_ip_target=1))
    first = made.pods["default/one"].ip
    made.delete("Pod", "default", "one")
    made.wait(29)
    made.apply(load_text(pods("two")).objects[0])
    assert made.pods["default/two"].ip != first
    made.delete("Pod", "default", "two")
    made.wait(31)
    made.apply(load_text(pods("three")).objects[0])
    assert made.pods["default/three"].ip == first


def test_prefixes_hold_sixteen_addresses_each() -> None:
    options = AwsOptions(instance_type="t3.nano", prefix_delegation=True)
    names = [f"p{number}" for number in range(20)]
    made = cluster(pods(*names), options=options)
    assert waiting(made) == []
    assert counts(made) == {"eth0": 16, "eth1": 16}
    (first, second) = ipamd(made).instance.enis
    assert [str(each) for each in (*first.prefixes, *second.prefixes)] == ["10.0.15.224/28", "10.0.15.208/28"]
    assert made.ping("default/p0", "default/p19").delivered
    assert made.ping("default/p19", "external").delivered


# -- max pods ---------------------------------------------------------------------------------------------------------

ERROR = (
    'stays ContainerCreating on node-1: plugin type="aws-cni" name="aws-cni" failed (add): '
    "add cmd: failed to assign an IP address to container"
)


def test_a_burst_of_pods_gets_what_the_instance_can_have() -> None:
    """At the start all are tried until no more fit: 3 interfaces with 3 addresses."""
    made = cluster(pods(*(f"p{number}" for number in range(10))), options=SMALL)
    assert len(made.pods) == 9 == limits_of("t3.small").max_pods() - 2
    assert waiting(made) == ["p9"]
    assert made.warnings == [f"pod default/p9: {ERROR}"]


def test_a_pod_without_an_address_waits_and_the_cluster_settles() -> None:
    made = cluster(pods("one", "two"))
    made.apply(load_text(pods("three")).objects[0])
    assert waiting(made) == ["three"]
    assert made.warnings == [f"pod default/three: {ERROR}"]
    before = made.clock.now
    made.settle()
    assert made.clock.now == before, "its next tries are no work that the cluster waits for"
    made.delete("Pod", "default", "one")
    made.wait(50)
    assert waiting(made) == [] and made.ping("default/two", "default/three").delivered


@pytest.mark.parametrize(("limit", "room"), [("instance", 2), (1, 1)])
def test_with_kubelets_max_pods_the_scheduler_sends_no_more(limit: str | int, room: int) -> None:
    """As EKS's AMI sets it: what a t3.nano can have. The rest waits for a node, and no pod for an address."""
    options = AwsOptions(instance_type="t3.nano", max_pods=limit)  # type: ignore[arg-type]  # of the table
    text = pods("one", "two", "three", "four", "five", "six").replace("nodeName: node-1, ", "")
    made = cluster(text, nodes=2, options=options)
    assert len(made.pods) == 2 * room and made.warnings == []
    assert {each.spec.node_name for each in made.store.list(core.Pod) if not each.status.pod_ip} == {""}


def test_a_waiting_pod_can_be_deleted() -> None:
    made = cluster(pods("one", "two", "three"))
    assert waiting(made) == ["three"]
    made.delete("Pod", "default", "three")
    assert made.store.get(core.Pod, "default", "three") is None
    assert "default/three" not in made.namespaces
    made.delete("Pod", "default", "one")
    made.wait(50)
    assert [*made.pods] == ["default/two"]


def test_more_pods_later_get_an_interface_of_their_own() -> None:
    made = cluster(pods("one"), options=SMALL)
    for obj in load_text(pods("two", "three", "four", "five", "six", "seven")).objects:
        made.apply(obj, settle=False)
    made.settle()
    assert waiting(made) == []
    assert counts(made) == {"eth0": 3, "eth1": 3, "eth2": 3}


# -- nothing stays behind ---------------------------------------------------------------------------------------------


def state(node: Netns) -> list[str]:
    tables = [f"{number}: {route.text()}" for number, table in node.ipv4.fib.tables.items() for route in table]
    devices = [f"{each.name} {each.up} {each.mtu}" for each in node.devices.values()]
    neighbours = [each.text() for each in node.neighbours]
    return [
        *node.ipv4.tables.save().splitlines(),
        *rules(node),
        *tables,
        *devices,
        *neighbours,
        *map(str, node.ipv4.addresses),
    ]


@pytest.mark.parametrize("ports", ["", ", hostPort: 8080"])
def test_del_leaves_the_node_as_it_was(ports: str) -> None:
    """A pod behind each interface comes and goes; the chains that portmap shares stay, as it leaves them."""
    made = cluster(pods("one", "two"), options=AwsOptions(instance_type="t3.small", minimum_ip_target=6))
    node = net(made)
    if ports:
        made.apply(load_text(pods("first", more=ports)).objects[0])
        made.delete("Pod", "default", "first")
    made.wait(60)
    before = state(node)
    made.apply(load_text(pods("three", more=ports)).objects[0])
    for obj in load_text(pods("four", "five")).objects:
        made.apply(obj)
    assert len(state(node)) > len(before)
    assert any(line.startswith("1536:") for line in state(node)), "one of them is behind the second interface"
    for name in ("three", "four", "five"):
        made.delete("Pod", "default", name)
    made.wait(60)
    assert state(node) == before
    assert sorted(each.name for each in made.namespaces.values() if "/" in each.name) == ["default/one", "default/two"]


def test_a_second_del_and_a_check_change_nothing() -> None:
    made = two()
    kubelet = made.kubelets[0]
    network, runtime = kubelet.network.config, Runtime()
    unknown = Attachment("gone", None, "eth0", kubelet.host, "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=x")
    before = state(net(made))
    runtime.delete(network, unknown)
    runtime.delete(network, unknown)
    AwsCniPlugin().check({"name": "aws-cni", "type": "aws-cni"}, unknown)
    assert state(net(made)) == before


def test_without_ipamd_an_add_fails_in_the_plugins_words() -> None:
    clock = Clock(1)
    host, container = boot.namespace(clock, "host"), boot.namespace(clock, "c")
    attachment = Attachment("c1", container, "eth0", Host(host), "IgnoreUnknown=1;K8S_POD_NAME=a;K8S_POD_NAMESPACE=b")
    with pytest.raises(CniError, match="connection refused"):
        AwsCniPlugin().add({"name": "aws-cni", "type": "aws-cni", "cniVersion": "0.4.0"}, attachment)
    assert not [name for name in container.devices if name != "lo"]


def test_a_long_prefix_is_refused() -> None:
    attachment = Attachment("c1", None, "eth0", Host(net(two())))
    with pytest.raises(CniError, match="at most 4 characters"):
        AwsCniPlugin().add({"name": "n", "type": "aws-cni", "vethPrefix": "enixx"}, attachment)


@pytest.mark.parametrize(("text", "mtu"), [("1500", 1500), ("575", 9001), ("9002", 9001), ("jumbo", 9001)])
def test_a_pods_mtu_is_text_in_bounds(text: str, mtu: int) -> None:
    assert AwsConf(mtu=text).pod_mtu == mtu


def test_the_result_keeps_the_device_number_in_a_dummy_interface() -> None:
    result = two().pods["default/two"].result
    assert result is not None
    assert [each.name[:5] for each in result.interfaces] == [
        "eni" + veth_name("eni", "default", "two")[3:5],
        "eth0",
        "dummy",
    ]
    dummy = result.interfaces[2]
    assert (dummy.mac, dummy.sandbox) == ("0", "1")
    assert [(each.address, each.interface) for each in result.ips] == [("10.0.0.102/32", 1)]
