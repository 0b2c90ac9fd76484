"""Exports of clusters as `kubectl get ... -A -o json` prints them, made from nothing: six kinds of cluster, of any size.

`export(Shape(...))` is a List of plain values. Every flavour holds the same workloads in the same states (`STATES` names them), behind
addresses, labels, agents and ConfigMaps of its own, as kubeadm, kind, EKS, GKE, k3s, minikube and Cilium's installer make them. The same
shape gives the same objects. Formats: kubectl's own output, the API reference of Kubernetes 1.33. Must not import emu.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Network

from export_objects import FLAVOURS, VERSION, WHEN, Object, Objects, Shape

__all__ = ["FLAVOURS", "STATES", "Shape", "addresses", "export"]

STATES = {
    "web": "a Deployment of three ready pods; ClusterIP, NodePort",
    "cart": "one pod, Running and not Ready: its slice has ready false",
    "half": "two pods, of which one is not Ready",
    "crash": "a container in CrashLoopBackOff",
    "queue": "a pod that no node takes: Pending, Unschedulable, no address",
    "image": "a pod on a node without an address: ImagePullBackOff",
    "leaving": "a pod that terminates and still serves; its slice has ready false, serving and terminating true",
    "done": "a pod of a Job that Succeeded and keeps its address in the status",
    "typo": "a Service whose selector matches no pod",
    "wrongport": "a Service whose targetPort no container declares",
    "wrongname": "a Service whose targetPort names no port: its slice has endpoints without ports",
    "stale": "a Service whose slice lists an address that no pod has any more",
    "local": "a NodePort Service with externalTrafficPolicy Local, with its pod on the last node",
    "hand": "a Service without a selector, whose slice a person wrote: it lists a pod of web",
    "alias": "an ExternalName for web",
    "ledger": "a StatefulSet of two pods behind a headless Service",
    "agent": "a DaemonSet on the nodes' own network, also on tainted nodes",
    "plain": "a pod whose containers declare no port, behind a Service with a numeric targetPort",
    "tools": "the pod to ask from, on the first worker",
}


def export(shape: Shape) -> Object:
    """The List that `kubectl get all,nodes,endpointslices,configmaps,... -A -o json` prints."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "metadata": {"resourceVersion": ""},
        "items": [*_Maker(shape).objects()],
    }


def addresses(found: Object) -> dict[str, str]:
    """Every address of an export by the object that has it: pods, InternalIPs, ClusterIPs."""
    table: dict[str, str] = {}
    for obj in found["items"]:
        meta, kind = obj["metadata"], obj["kind"]
        name = f"{kind}/{meta.get('namespace', '')}/{meta['name']}"
        if kind == "Pod" and obj["status"].get("podIP"):
            table[name] = obj["status"]["podIP"]
        elif kind == "Node":
            table[name] = next(each["address"] for each in obj["status"]["addresses"] if each["type"] == "InternalIP")
        elif kind == "Service" and obj["spec"].get("clusterIP"):
            table[name] = obj["spec"]["clusterIP"]
    return table


class _Maker(Objects):
    def objects(self) -> Iterator[Object]:
        for name in ("default", "kube-system", "shop", "books"):
            yield {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": self.meta(name),
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }
        for number, node in enumerate(self.nodes):
            yield self._node(number, node)
        yield from self._settings()
        yield from self._system()
        yield from self._workloads()

    def _node(self, number: int, name: str) -> Object:
        labels = {
            "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **self.flavour.node_labels,
        }  # fmt: skip
        if self.shape.flavour in ("eks", "gke"):
            labels["topology.kubernetes.io/zone"] = "eu-central-1" + "abc"[number % 3]
        spec: Object = {}
        if name in self.controls:
            labels["node-role.kubernetes.io/control-plane"] = ""
            spec["taints"] = [{"effect": "NoSchedule", "key": "node-role.kubernetes.io/control-plane"}]
        if self.flavour.cidr:
            spec |= {"podCIDR": str(self.part(name)), "podCIDRs": [str(self.part(name))]}
        elif self.shape.flavour in (
            "calico",
            "cilium",
        ):  # kube-controller-manager's own, which the network does not read
            cidr = f"10.244.{number}.0/24" if self.shape.flavour == "cilium" else f"192.168.{number}.0/24"
            spec |= {"podCIDR": cidr, "podCIDRs": [cidr]}
        addresses = [{"address": str(self._host(number)), "type": "InternalIP"}]
        if self.flavour.external:
            addresses.append({"address": str(IPv4Network(self.flavour.external)[5 + number]), "type": "ExternalIP"})
        addresses.append({"address": name, "type": "Hostname"})
        annotations = {"node.alpha.kubernetes.io/ttl": "0", **self.flavour.annotations}
        if self.flavour.annotations:
            mac = f"{number:04x}"
            annotations |= {
                "flannel.alpha.coreos.com/backend-data": json.dumps(
                    {"VNI": 1, "VtepMAC": f"5e:11:22:33:{mac[:2]}:{mac[2:]}"}
                ),
                "flannel.alpha.coreos.com/public-ip": str(self._host(number)),
            }
        ready = {
            "lastHeartbeatTime": WHEN.format(59),
            "lastTransitionTime": WHEN.format(1),
            "message": "kubelet is posting ready status",
            "reason": "KubeletReady",
            "status": "True",
            "type": "Ready",
        }
        status = {
            "addresses": addresses, "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"}, "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "conditions": [
                {"lastHeartbeatTime": WHEN.format(59), "lastTransitionTime": WHEN.format(1), "message": "kubelet has sufficient memory available",
                 "reason": "KubeletHasSufficientMemory", "status": "False", "type": "MemoryPressure"},
                ready,
            ],
            "nodeInfo": {"architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "containerd://2.1.1", "kernelVersion": "6.8.0", "kubeProxyVersion": "",
                         "kubeletVersion": VERSION, "machineID": "m", "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12 (bookworm)", "systemUUID": "s"},
        }  # fmt: skip
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": self.meta(name, labels=labels, annotations=annotations),
            "spec": spec,
            "status": status,
        }

    def _settings(self) -> Iterator[Object]:
        if not self.flavour.settings:
            return
        subnet = self.flavour.pods if self.shape.flavour != "cilium" else "10.244.0.0/16"
        kubeadm = (
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
            f"kubernetesVersion: {VERSION}\nnetworking:\n  dnsDomain: cluster.local\n"
            f"  podSubnet: {subnet}\n  serviceSubnet: {self.flavour.services}\n"
        )
        proxy = (
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\n"
            f"clusterCIDR: {subnet}\niptables:\n  masqueradeAll: false\n  masqueradeBit: 14\nmode: iptables\nnodePortAddresses: null\n"
        )
        for name, data in (
            ("kubeadm-config", {"ClusterConfiguration": kubeadm}),
            ("kube-proxy", {"config.conf": proxy, "kubeconfig.conf": ""}),
        ):
            yield {"apiVersion": "v1", "data": data, "kind": "ConfigMap", "metadata": self.meta(name, "kube-system")}

    def _system(self) -> Iterator[Object]:
        managed = self.shape.flavour in ("eks", "gke")
        for node in self.nodes if not managed else ():
            if node in self.controls or (self.shape.flavour == "minikube" and node == self.nodes[0]):
                for part, port in (("etcd", 2381), ("kube-apiserver", 6443), ("kube-controller-manager", 10257)):
                    probe = {
                        "failureThreshold": 8,
                        "httpGet": {"host": self._ip(node), "path": "/livez", "port": port, "scheme": "HTTPS"},
                        "periodSeconds": 10,
                    }
                    yield self._pod(
                        f"{part}-{node}",
                        "kube-system",
                        node,
                        {"component": part, "tier": "control-plane"},
                        probe=probe,
                        host=True,
                    )
        if self.shape.flavour != "k3s":
            yield from self._daemon_set("kube-proxy", "kube-system", {"k8s-app": "kube-proxy"})
        if self.flavour.agent:
            yield from self._daemon_set(self.flavour.agent, "kube-system", self.flavour.labels)
        endpoints = [self._ip(node) for node in self.nodes if node in self.controls] or [self._ip(self.nodes[0])]
        if managed:
            endpoints = [str(IPv4Network(self.flavour.hosts)[2000]), str(IPv4Network(self.flavour.hosts)[2900])]
        port = 443 if managed else 6443
        yield self._service(
            "kubernetes", "default", {}, [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
        )
        yield self._slice(
            "kubernetes",
            "default",
            [{"addresses": [each], "conditions": {"ready": True}} for each in endpoints],
            [("https", port, "TCP")],
            by="",
        )
        ports = [(53, "dns", "UDP"), (53, "dns-tcp", "TCP"), (9153, "metrics", "TCP")]
        yield from self._deployment("coredns", "kube-system", {"k8s-app": "kube-dns"}, self._spread(2), ports)
        yield self._service(
            "kube-dns",
            "kube-system",
            {"k8s-app": "kube-dns"},
            [{"name": name, "port": number, "protocol": proto, "targetPort": number} for number, name, proto in ports],
        )
        yield self._slice_of(
            "kube-dns",
            "kube-system",
            [
                each
                for each in self.made.values()
                if each["metadata"]["name"].startswith("coredns-") and each["kind"] == "Pod"
            ],
            [(n, p, q) for p, n, q in ports],
        )

    def _spread(self, count: int, start: int = 0) -> list[str]:
        return [self.workers[(start + number) % len(self.workers)] for number in range(count)]

    def _workloads(self) -> Iterator[Object]:
        http, last = [(8080, "http", "TCP")], self.workers[-1]
        yield self._pod("tools", "default", self.workers[0], {"app": "tools"})
        for name, nodes, states in (
            ("web", self._spread(self.shape.web), ["ready"]), ("cart", self._spread(1), ["unready"]), ("half", self._spread(2), ["ready", "unready"]),
            ("crash", self._spread(1, 1), ["crash"]), ("queue", [""], ["queue"]), ("image", self._spread(1), ["image"]),
            ("leaving", self._spread(1, 1), ["leaving"]), ("local", [last], ["ready"]), ("stale", self._spread(1), ["ready"]),
        ):  # fmt: skip
            yield from self._deployment(name, "shop", {"app": name}, nodes, http, states)
            kind = "NodePort" if name in ("web", "local") else "ClusterIP"
            more = {"externalTrafficPolicy": "Local"} if name == "local" else {}
            yield self._service(
                name,
                "shop",
                {"app": name},
                [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
                kind,
                **more,
            )
            pods = self._pods(name)
            slice = self._slice_of(name, "shop", pods, [("http", 8080, "TCP")])
            if name == "stale":
                gone = str(self.part(self.workers[0])[3 if self.flavour.size < 30 else 1])
                slice["endpoints"][0] |= {
                    "addresses": [gone],
                    "targetRef": {"kind": "Pod", "name": "stale-5f6c7-old00", "namespace": "shop", "uid": "0"},
                }
            yield slice
        for name, selector, target, ports in (
            ("typo", {"app": "wbe"}, "http", None), ("wrongport", {"app": "web"}, 8081, [("http", 8081, "TCP")]), ("wrongname", {"app": "web"}, "htpp", []),
        ):  # fmt: skip
            yield self._service(
                name, "shop", selector, [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": target}]
            )
            yield self._slice_of(name, "shop", self._pods("web") if ports is not None else [], ports or [])
        yield self._service("hand", "shop", {}, [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}])
        yield self._slice(
            "hand",
            "shop",
            [{"addresses": [self._pods("web")[0]["status"]["podIP"]], "conditions": {}}],
            [("http", 8080, "TCP")],
            by="",
        )
        yield {
            "apiVersion": "v1", "kind": "Service", "metadata": self.meta("alias", "shop"),
            "spec": {"externalName": "web.shop.svc.cluster.local", "sessionAffinity": "None", "type": "ExternalName"}, "status": {"loadBalancer": {}},
        }  # fmt: skip
        yield from self._plain()
        yield from self._ledger()
        yield from self._daemon_set("agent", "shop", {"app": "agent"}, [(9100, "metrics", "TCP")])
        yield from self._job()

    def _plain(self) -> Iterator[Object]:
        pod = self._pod("plain", "shop", self._spread(1, 1)[0], {"app": "plain"})
        yield pod
        yield self._service("plain", "shop", {"app": "plain"}, [{"port": 80, "protocol": "TCP", "targetPort": 3000}])
        yield self._slice_of("plain", "shop", [pod], [("", 3000, "TCP")])

    def _ledger(self) -> Iterator[Object]:
        labels, revision = {"app": "ledger"}, "ledger-bsbm9c57cp"
        spec = self._pod_spec("ledger", "", [(5432, "db", "TCP")])
        made: Object = {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": self.meta("ledger", "books", labels),
            "spec": {
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}, "podManagementPolicy": "OrderedReady", "replicas": 2,
                "revisionHistoryLimit": 10, "selector": {"matchLabels": labels}, "serviceName": "ledger",
                "template": {"metadata": {"labels": labels}, "spec": spec}, "updateStrategy": {"rollingUpdate": {"partition": 0}, "type": "RollingUpdate"},
            },
            "status": {"availableReplicas": 2, "currentReplicas": 2, "currentRevision": revision, "readyReplicas": 2, "replicas": 2, "updateRevision": revision, "updatedReplicas": 2},
        }  # fmt: skip
        self.made["StatefulSet/ledger"] = made
        yield made
        for number, node in enumerate(self._spread(2)):
            own = labels | {
                "controller-revision-hash": revision,
                "apps.kubernetes.io/pod-index": str(number),
                "statefulset.kubernetes.io/pod-name": f"ledger-{number}",
            }
            pod = self._pod(
                f"ledger-{number}",
                "books",
                node,
                own,
                [(5432, "db", "TCP")],
                owners=self.owner("StatefulSet", "ledger"),
            )
            pod["spec"] |= {"hostname": f"ledger-{number}", "subdomain": "ledger"}
            yield pod
        yield self._service(
            "ledger",
            "books",
            labels,
            [{"name": "db", "port": 5432, "protocol": "TCP", "targetPort": "db"}],
            address="None",
        )
        slice = self._slice_of("ledger", "books", self._pods("ledger"), [("db", 5432, "TCP")])
        slice["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
        for number, each in enumerate(slice["endpoints"]):
            each["hostname"] = f"ledger-{number}"
        yield slice

    def _job(self) -> Iterator[Object]:
        pod = self._pod("done-x7k2p", "shop", self._spread(1)[0], {"job-name": "done"}, state="done")
        yield pod
