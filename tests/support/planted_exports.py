"""What is planted in the exports of tests/support/exports.py: changes of the objects, or of the cluster once it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu.apps.dns import DnsServer
from emu.kernel import commands
from emu.kube.cluster import Cluster
from emu.kube.dns.zone import DnsConfig, outside

Found = dict[str, Any]


def of(found: Found, kind: str, name: str) -> list[Found]:
    """The objects of a kind whose name begins so."""
    return [each for each in found["items"] if each["kind"] == kind and each["metadata"]["name"].startswith(name)]


def one(found: Found, kind: str, name: str) -> Found:
    return next(each for each in of(found, kind, name))


# -- changes of an export ---------------------------------------------------------------------------------


def nothing(found: Found) -> None:
    """The export has it already."""


def node_down(found: Found) -> None:
    name = one(found, "Pod", "cart-")["spec"]["nodeName"]
    for each in one(found, "Node", name)["status"]["conditions"]:
        if each["type"] == "Ready":
            each |= {
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            }


def finished_job(found: Found) -> None:
    """The Job of the pod that has finished."""
    pod = one(found, "Pod", "done-")
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": pod["spec"]["containers"]}}}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "done", "uid": "11111111-1111-4111-8111-111111111111"}
    status = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    pod["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    metadata = {"name": "done", "namespace": "shop", "uid": owner["uid"]}
    found["items"].append({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec, "status": status
    })  # fmt: skip


def dns_down(found: Found) -> None:
    for pod in of(found, "Pod", "coredns-"):
        for each in pod["status"]["conditions"]:
            if each["type"] in ("Ready", "ContainersReady"):
                each["status"] = "False"
        pod["status"]["containerStatuses"][0] |= {"ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    for each in one(found, "EndpointSlice", "kube-dns-")["endpoints"]:
        each["conditions"] = {"ready": False, "serving": False, "terminating": False}


def dns_policy(policy: str, **more: Any) -> Callable[[Found], None]:
    def change(found: Found) -> None:
        one(found, "Pod", "tools")["spec"] |= {"dnsPolicy": policy, **more}

    return change


def service(name: str, **spec: Any) -> Callable[[Found], None]:
    def change(found: Found) -> None:
        one(found, "Service", name)["spec"] |= spec

    return change


def no_slice(found: Found) -> None:
    found["items"] = [each for each in found["items"] if each["metadata"]["name"] != "web-fx2l7"]


def unready_in_slice(found: Found) -> None:
    for each in one(found, "EndpointSlice", "web-")["endpoints"]:
        each["conditions"]["ready"] = each["conditions"]["serving"] = False


def tainted(found: Found) -> None:
    pod = one(found, "Pod", "queue-")
    pod["status"]["conditions"][0]["message"] = (
        "0/4 nodes are available: 4 node(s) had untolerated taint {dedicated: db}."
    )


def host_port(found: Found) -> None:
    pod = one(found, "Pod", "queue-")
    pod["status"]["conditions"][0]["message"] = (
        "0/4 nodes are available: 4 node(s) didn't have free ports for the requested pod ports."
    )


def readiness_gate(found: Found) -> None:
    gate = {
        "type": "target-health.elbv2.k8s.aws/web",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": None,
    }
    one(found, "Pod", "cart-")["status"]["conditions"].append(gate)


def no_config(found: Found) -> None:
    pod = one(found, "Pod", "cart-")
    pod["status"]["containerStatuses"][0]["state"] = {
        "waiting": {"reason": "CreateContainerConfigError", "message": 'configmap "cart" not found'}
    }


def gone(found: Found) -> None:
    """The leaving pod serves no more."""
    pod = one(found, "Pod", "leaving-")
    pod["status"]["conditions"][1]["status"] = "False"
    one(found, "EndpointSlice", "leaving-")["endpoints"][0]["conditions"] = {
        "ready": False,
        "serving": False,
        "terminating": True,
    }


def creating(found: Found) -> None:
    pod = one(found, "Pod", "image-")
    pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}


def hand_elsewhere(found: Found) -> None:
    one(found, "EndpointSlice", "hand")["endpoints"][0]["addresses"] = [
        one(found, "Pod", "web-")["status"]["podIP"].rpartition(".")[0] + ".250"
    ]


def no_hand(found: Found) -> None:
    """Nothing lists an endpoint of the Service without a selector."""
    found["items"].remove(one(found, "EndpointSlice", "hand"))


def hand_misnamed(found: Found) -> None:
    one(found, "EndpointSlice", "hand")["ports"][0]["name"] = "web"


def headless_empty(found: Found) -> None:
    for pod in of(found, "Pod", "ledger-"):
        pod["status"]["conditions"][1]["status"] = "False"
    for each in one(found, "EndpointSlice", "ledger-")["endpoints"]:
        each["conditions"] = {"ready": False, "serving": False, "terminating": False}


def headless_port(found: Found) -> None:
    one(found, "Service", "ledger")["spec"]["ports"][0]["port"] = 80


def affinity(found: Found) -> None:
    service("half", sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}})(found)
    slice = one(found, "EndpointSlice", "half-")
    for each in slice["endpoints"]:
        each["conditions"] = {"ready": True, "serving": True, "terminating": False}
    pods = {each["metadata"]["name"]: each for each in of(found, "Pod", "half-")}
    for pod in pods.values():  # both answer nothing: their containers have ended, and the probe has not seen it yet
        pod["status"]["containerStatuses"][0]["state"] = {"running": {}}
        pod["spec"]["containers"][0]["ports"] = [{"containerPort": 9999, "name": "http", "protocol": "TCP"}]
    for pod in pods.values():
        for each in pod["status"]["conditions"]:
            each["status"] = "True"


def ranges(found: Found) -> None:
    service("web", type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"], externalTrafficPolicy="Cluster")(
        found
    )
    one(found, "Service", "web")["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.80"}]}}


def clash(found: Found) -> None:
    """cart is a pod of its node's own network, declares the port of agent, and crashes."""
    pod = one(found, "Pod", "cart-")
    pod["spec"] |= {"hostNetwork": True}
    pod["spec"]["containers"][0]["ports"] = [
        {"containerPort": 9100, "hostPort": 9100, "name": "http", "protocol": "TCP"}
    ]
    pod["status"] |= {"podIP": pod["status"]["hostIP"], "podIPs": [{"ip": pod["status"]["hostIP"]}]}
    pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}


def policy(found: Found) -> None:
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": []}
    found["items"].append(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "web-is-closed", "namespace": "shop", "uid": "7"},
            "spec": spec,
        }
    )


def stay_in(found: Found) -> None:
    """The client may reach web, and nothing else: not the DNS."""
    to = [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}]
    spec = {"podSelector": {"matchLabels": {"app": "tools"}}, "policyTypes": ["Egress"], "egress": [{"to": to}]}
    meta = {"name": "tools-stay-in", "namespace": "default", "uid": "8"}
    found["items"].append(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
    )


def external(name: str) -> Callable[[Found], None]:
    return service("alias", externalName=name)


# -- changes of the cluster once it runs --------------------------------------------------------------------


def rule(text: str, where: str = "client") -> Callable[[Cluster], None]:
    """A command of iptables on the node of the pod default/tools, or of the first pod of web."""

    def change(cluster: Cluster) -> None:
        cluster.iptables(node_of(cluster, where), text)

    return change


def node_of(cluster: Cluster, where: str) -> str:
    if where == "first":
        return next(iter(cluster.nodes))
    name = (
        "default/tools"
        if where == "client"
        else next(each for each in cluster.pods if each.startswith(f"shop/{where}-"))
    )
    return cluster.pods[name].node.name


def sysctl(name: str, value: int, where: str) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        cluster.configure(f"node/{node_of(cluster, where)}", lambda net: net.sysctl.__setitem__(name, value))

    return change


def unmarked(cluster: Cluster) -> None:
    """No rule of the first node marks or masquerades, neither kube-proxy's nor flannel's."""
    cluster.iptables(node_of(cluster, "first"), "-t nat -F POSTROUTING")


def crooked(cluster: Cluster) -> None:
    """The node of the pod routes back to the client's pods by the router, not by flannel's tunnel, and is strict."""
    net = cluster.node(node_of(cluster, "local")).net
    back = f"{cluster.node(node_of(cluster, 'client')).pod_cidr}"
    commands.route_replace(net, f"{back} via 10.0.1.1 dev eth0")
    net.sysctl["net.ipv4.conf.all.rp_filter"] = 1


def unroute(cluster: Cluster) -> None:
    net = cluster.node(node_of(cluster, "client")).net
    for route in [each for each in net.ipv4.fib.main if each.prefix.length in (16, 24) and each.gateway]:
        net.ipv4.fib.remove(route)
    for route in [each for each in net.ipv4.fib.main if not each.prefix.length]:
        net.ipv4.fib.remove(route)


def narrow(cluster: Cluster) -> None:
    """The pod's node has a narrow link, and the router's ICMP about it does not come back."""
    cluster.link(node_of(cluster, "local"), mtu=1000)
    cluster.iptables(
        node_of(cluster, "client"), "-t raw -I PREROUTING -p icmp --icmp-type fragmentation-needed -j DROP"
    )


def outside_answers(**names: str) -> Callable[[Cluster], None]:
    """CoreDNS forwards to a server on the first node, which has these names (_ for a dot)."""

    def change(cluster: Cluster) -> None:
        host = next(iter(cluster.nodes.values()))
        server = DnsServer(host.net, 53, "UDP", "external")
        server.authority = outside(DnsConfig(upstream={name.replace("_", "."): each for name, each in names.items()}))
        for pod in cluster.pods.values():
            for app in (app for each in pod.containers for app in each.apps if isinstance(app, DnsServer)):
                app.upstreams = (str(host.ip),)

    return change


def unplugged(cluster: Cluster) -> None:
    cluster.link(node_of(cluster, "client"), down=True)


def still(cluster: Cluster) -> None:
    """As the export has it."""
