"""The objects of one made export: nodes' and pods' addresses, metadata, workloads with their pods and status, Services and slices.

Formats: kubectl's own output, the API reference of Kubernetes 1.33. Must not import emu, or know which workloads there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

Object = dict[str, Any]
WHEN = "2026-10-19T06:{:02}:07Z"
VERSION = "v1.33.4"


class Shape(NamedTuple):
    """`flavour` is a key of `FLAVOURS`; `web` is how many pods the Deployment web has; `control` how many nodes are tainted."""

    flavour: str
    nodes: int
    web: int = 3
    control: int = 1


class Flavour(NamedTuple):
    """Where addresses come from, and what shows of the network. `hosts` is the subnet of nodes, its first node at `first`; `pods` is cut into parts of
    `size`, of which a node has its own; `cidr`: Node objects state these parts as podCIDR."""

    hosts: str
    first: int
    pods: str
    size: int
    services: str
    agent: str
    labels: dict[str, str]
    cidr: bool = True
    shift: int = 0  # the part of the pods' subnet that the first node has
    annotations: dict[str, str] = {}
    node_labels: dict[str, str] = {}
    settings: bool = False
    external: str = ""


VXLAN = {
    "flannel.alpha.coreos.com/backend-type": "vxlan",
    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
}
FLAVOURS = {
    "kind": Flavour("172.18.0.0/16", 2, "10.244.0.0/16", 24, "10.96.0.0/16", "kindnet", {"app": "kindnet", "k8s-app": "kindnet"}, settings=True),
    "kubeadm": Flavour(
        "10.0.1.0/24", 11, "10.244.0.0/16", 24, "10.96.0.0/12", "kube-flannel-ds", {"app": "flannel"}, annotations=VXLAN, settings=True
    ),
    "calico": Flavour(
        "10.20.0.0/16", 10, "192.168.0.0/16", 26, "10.96.0.0/12", "calico-node", {"k8s-app": "calico-node"}, cidr=False, shift=37, settings=True
    ),
    "eks": Flavour(
        "10.0.0.0/16", 20, "10.0.64.0/18", 26, "172.20.0.0/16", "aws-node", {"k8s-app": "aws-node"}, cidr=False,
        node_labels={"eks.amazonaws.com/nodegroup": "ng-1"}, external="54.93.10.0/24",
    ),
    "gke": Flavour(
        "10.128.0.0/20", 3, "10.4.0.0/14", 24, "10.8.0.0/20", "netd", {"k8s-app": "netd"},
        node_labels={"cloud.google.com/gke-nodepool": "pool-1"}, external="34.90.0.0/16",
    ),
    "k3s": Flavour(
        "192.168.1.0/24", 21, "10.42.0.0/16", 24, "10.43.0.0/16", "", {}, annotations=VXLAN, node_labels={"node.kubernetes.io/instance-type": "k3s"}
    ),
    "minikube": Flavour("192.168.49.0/24", 2, "10.244.0.0/16", 24, "10.96.0.0/12", "", {}, node_labels={"minikube.k8s.io/name": "minikube"}, settings=True),
    "cilium": Flavour(
        "192.168.10.0/23", 11, "10.0.0.0/8", 24, "10.96.0.0/12", "cilium", {"k8s-app": "cilium", "app.kubernetes.io/name": "cilium-agent"},
        cidr=False, settings=True,
    ),
}  # fmt: skip


class Objects:
    """Makes the objects of one shape; `made` has them by kind and name."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.flavour = shape, FLAVOURS[shape.flavour]
        self.version = 800
        control = min(shape.control, shape.nodes - 1)
        self.nodes = [self._name(number, number < control) for number in range(shape.nodes)]
        self.workers = self.nodes[control:]
        self.controls = set(self.nodes[:control])
        self.used = dict.fromkeys(self.nodes, 5)
        self.made: dict[str, Object] = {}

    def _name(self, number: int, control: bool) -> str:
        flavour, host = self.shape.flavour, str(self._host(number)).replace(".", "-")
        if flavour == "kind":
            return "kind-control-plane" if control else f"kind-worker{number if number > 1 else ''}"
        if flavour == "minikube":
            return "minikube" if not number else f"minikube-m{number + 1:02}"
        if flavour == "eks":
            return f"ip-{host}.eu-central-1.compute.internal"
        return {"gke": "gke-main-pool-1-"}.get(flavour, "node-") + f"{number:03}"

    def _host(self, number: int) -> IPv4Address:
        net = IPv4Network(self.flavour.hosts)
        if self.shape.flavour == "eks":  # three zones, a /20 each from 10.0.0.0 on
            return net[(number % 3) * 4096 + self.flavour.first + number // 3]
        return net[self.flavour.first + number]

    def part(self, node: str) -> IPv4Network:
        """The node's part of the pods' addresses."""
        number = self.nodes.index(node)
        if self.shape.flavour == "eks":  # of the node's own subnet
            base = IPv4Address(int(self._host(number)) & 0xFFFFF000) + 1024 + (number // 3) * 32
            return IPv4Network(f"{base}/27")
        net = IPv4Network(self.flavour.pods)
        size = 1 << (32 - self.flavour.size)
        return IPv4Network((int(net.network_address) + (self.flavour.shift + number) * size, self.flavour.size))

    def _pod_ip(self, node: str) -> str:
        self.used[node] += 1
        return str(self.part(node)[self.used[node]])

    def _service_ip(self, name: str) -> str:
        net = IPv4Network(self.flavour.services)
        fixed = {"kubernetes": 1, "kube-dns": 10}
        digest = int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)
        return str(net[fixed.get(name, 300 + digest % 3000)])

    def meta(self, name: str, namespace: str = "", labels: dict[str, str] | None = None, **more: Any) -> Object:
        self.version += 7
        digest = hashlib.sha256(f"{self.shape}/{namespace}/{name}/{self.version}".encode()).hexdigest()
        uid = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"
        found: Object = {
            "creationTimestamp": WHEN.format(self.version // 7 % 60),
            "name": name,
            "resourceVersion": str(self.version),
            "uid": uid,
        }
        if namespace:
            found["namespace"] = namespace
        if labels:
            found["labels"] = labels
        return found | {key: value for key, value in more.items() if value}

    def owner(self, kind: str, name: str, api: str = "apps/v1") -> list[Object]:
        uid = self.made[f"{kind}/{name}"]["metadata"]["uid"]
        return [
            {"apiVersion": api, "blockOwnerDeletion": True, "controller": True, "kind": kind, "name": name, "uid": uid}
        ]

    def _ip(self, node: str) -> str:
        return str(self._host(self.nodes.index(node)))

    def _pods(self, name: str) -> list[Object]:
        return [
            each
            for each in self.made.values()
            if each["kind"] == "Pod" and each["metadata"].get("labels", {}).get("app") == name
        ]

    def _deployment(
        self,
        name: str,
        namespace: str,
        labels: dict[str, str],
        nodes: list[str],
        ports: list[tuple[int, str, str]],
        states: list[str] | None = None,
    ) -> Iterator[Object]:
        digest = hashlib.sha256(name.encode()).hexdigest()[:9]
        set_name, own = f"{name}-{digest}", labels | {"pod-template-hash": digest}
        states = states or ["ready"]
        ready = sum(states[n % len(states)] == "ready" for n in range(len(nodes)))
        template = {"metadata": {"labels": labels}, "spec": self._pod_spec(name, "", ports)}
        status = {
            "observedGeneration": 1,
            "readyReplicas": ready,
            "replicas": len(nodes),
            "updatedReplicas": len(nodes),
        }
        spec = {
            "progressDeadlineSeconds": 600, "replicas": len(nodes), "revisionHistoryLimit": 10, "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"}, "template": template,
        }  # fmt: skip
        made = {
            "apiVersion": "apps/v1", "kind": "Deployment", "spec": spec, "status": status,
            "metadata": self.meta(name, namespace, labels, annotations={"deployment.kubernetes.io/revision": "1"}, generation=1),
        }  # fmt: skip
        self.made[f"Deployment/{name}"] = made
        yield made
        replica_set = {
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": self.meta(set_name, namespace, own, generation=1, ownerReferences=self.owner("Deployment", name)),
            "spec": {"replicas": len(nodes), "selector": {"matchLabels": own}, "template": {**template, "metadata": {"labels": own}}},
            "status": {"fullyLabeledReplicas": len(nodes), "observedGeneration": 1, "replicas": len(nodes)},
        }  # fmt: skip
        self.made[f"ReplicaSet/{set_name}"] = replica_set
        yield replica_set
        for number, node in enumerate(nodes):
            suffix = hashlib.sha256(f"{name}{number}".encode()).hexdigest()[:5]
            state = states[number % len(states)]
            yield self._pod(
                f"{set_name}-{suffix}",
                namespace,
                node,
                own,
                ports,
                state=state,
                owners=self.owner("ReplicaSet", set_name),
                generate=f"{set_name}-",
            )

    def _daemon_set(
        self, name: str, namespace: str, labels: dict[str, str], ports: list[tuple[int, str, str]] | None = None
    ) -> Iterator[Object]:
        spec = self._pod_spec(name, "", ports or [], host=True) | {"tolerations": [{"operator": "Exists"}]}
        made: Object = {
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": self.meta(name, namespace, labels, annotations={"deprecated.daemonset.template.generation": "1"}, generation=1),
            "spec": {"revisionHistoryLimit": 10, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec},
                     "updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}, "type": "RollingUpdate"}},
            "status": {"currentNumberScheduled": len(self.nodes), "desiredNumberScheduled": len(self.nodes), "numberAvailable": len(self.nodes), "numberMisscheduled": 0,
                       "numberReady": len(self.nodes), "observedGeneration": 1, "updatedNumberScheduled": len(self.nodes)},
        }  # fmt: skip
        self.made[f"DaemonSet/{name}"] = made
        yield made
        own = labels | {"controller-revision-hash": "7d9c5bcd65", "pod-template-generation": "1"}
        for node in self.nodes:
            suffix = hashlib.sha256(f"{name}{node}".encode()).hexdigest()[:5]
            yield self._pod(
                f"{name}-{suffix}",
                namespace,
                node,
                own,
                ports or [],
                owners=self.owner("DaemonSet", name),
                generate=f"{name}-",
                host=True,
            )

    def _pod_spec(
        self, name: str, node: str, ports: list[tuple[int, str, str]], host: bool = False, probe: Object | None = None
    ) -> Object:
        container: Object = {"image": f"registry.example/{name}:1.5.0", "imagePullPolicy": "IfNotPresent", "name": name.partition("-")[0], "resources": {},
                             "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}  # fmt: skip
        if ports:
            container["ports"] = [
                {"containerPort": number, "name": title, "protocol": proto} | ({"hostPort": number} if host else {})
                for number, title, proto in ports
            ]
        if probe:
            container["livenessProbe"] = probe
        spec: Object = {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                        "terminationGracePeriodSeconds": 30}  # fmt: skip
        if host:
            spec["hostNetwork"] = True
        if node:
            spec |= {"enableServiceLinks": True, "nodeName": node, "preemptionPolicy": "PreemptLowerPriority", "priority": 0, "serviceAccount": "default",
                     "serviceAccountName": "default"}  # fmt: skip
        return spec

    def _pod(
        self, name: str, namespace: str, node: str, labels: dict[str, str], ports: list[tuple[int, str, str]] | None = None, *, state: str = "ready",
        owners: list[Object] | None = None, generate: str = "", host: bool = False, probe: Object | None = None,
    ) -> Object:  # fmt: skip
        spec = self._pod_spec(name.partition("-")[0], node, ports or [], host, probe)
        if state == "done":
            spec["restartPolicy"] = "Never"
        made: Object = {
            "apiVersion": "v1", "kind": "Pod", "metadata": self.meta(name, namespace, labels, generateName=generate, ownerReferences=owners),
            "spec": spec, "status": self._status(spec, node, state, host),
        }  # fmt: skip
        if state == "leaving":
            made["metadata"] |= {"deletionGracePeriodSeconds": 30, "deletionTimestamp": WHEN.format(59)}
        self.made[f"Pod/{namespace}/{name}"] = made
        return made

    def _status(self, spec: Object, node: str, state: str, host: bool) -> Object:
        name = spec["containers"][0]["name"]
        if state == "queue":
            message = f"0/{len(self.nodes)} nodes are available: {len(self.nodes)} Insufficient cpu. no new claims to deallocate, preemption: not helpful."
            condition = {
                "lastProbeTime": None,
                "lastTransitionTime": WHEN.format(40),
                "message": message,
                "reason": "Unschedulable",
                "status": "False",
                "type": "PodScheduled",
            }
            return {"conditions": [condition], "phase": "Pending", "qosClass": "BestEffort"}
        ready = state in ("ready", "leaving")
        words: dict[str, Object] = {
            "crash": {
                "waiting": {"message": "back-off 5m0s restarting failed container", "reason": "CrashLoopBackOff"}
            },
            "image": {"waiting": {"message": "Back-off pulling image", "reason": "ImagePullBackOff"}},
            "done": {
                "terminated": {
                    "containerID": "containerd://1",
                    "exitCode": 0,
                    "finishedAt": WHEN.format(30),
                    "reason": "Completed",
                    "startedAt": WHEN.format(29),
                }
            },
        }
        why = {"done": {"reason": "PodCompleted"}}.get(
            state,
            {} if ready else {"message": f"containers with unready status: [{name}]", "reason": "ContainersNotReady"},
        )
        word = "True" if ready else "False"
        status: Object = {
            "conditions": [
                {"lastProbeTime": None, "lastTransitionTime": WHEN.format(20), "status": "True", "type": "Initialized"},
                {"lastProbeTime": None, "lastTransitionTime": WHEN.format(20), **why, "status": word, "type": "Ready"},
                {"lastProbeTime": None, "lastTransitionTime": WHEN.format(20), **why, "status": word, "type": "ContainersReady"},
                {"lastProbeTime": None, "lastTransitionTime": WHEN.format(20), "status": "True", "type": "PodScheduled"},
            ],
            "containerStatuses": [
                {"image": spec["containers"][0]["image"], "imageID": "sha256:0", "lastState": {}, "name": name, "ready": ready, "restartCount": 7 if state == "crash" else 0,
                 "started": state in ("ready", "leaving", "unready"), "state": words.get(state, {"running": {"startedAt": WHEN.format(20)}})}
            ],
            "hostIP": self._ip(node), "hostIPs": [{"ip": self._ip(node)}],
            "phase": {"image": "Pending", "done": "Succeeded"}.get(state, "Running"), "qosClass": "BestEffort", "startTime": WHEN.format(19),
        }  # fmt: skip
        if state != "image":
            address = self._ip(node) if host else self._pod_ip(node)
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        return status

    def _service(
        self,
        name: str,
        namespace: str,
        selector: dict[str, str],
        ports: list[Object],
        kind: str = "ClusterIP",
        address: str = "",
        **more: Any,
    ) -> Object:
        address = address or self._service_ip(name)
        if kind == "NodePort":
            ports = [each | {"nodePort": {"web": 31234, "local": 31235}[name]} for each in ports]
            more = {"externalTrafficPolicy": "Cluster"} | more
        spec: Object = {"clusterIP": address, "clusterIPs": [address], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "ports": ports,
                        "sessionAffinity": "None", "type": kind, **more}  # fmt: skip
        if selector:
            spec["selector"] = selector
        made = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.meta(name, namespace),
            "spec": spec,
            "status": {"loadBalancer": {}},
        }
        self.made[f"Service/{name}"] = made
        return made

    def _slice_of(self, name: str, namespace: str, pods: list[Object], ports: list[tuple[str, int, str]]) -> Object:
        """As the controller writes it."""
        endpoints = []
        for pod in pods:
            status, leaving = pod["status"], "deletionTimestamp" in pod["metadata"]
            if status.get("podIP") and status["phase"] not in ("Succeeded", "Failed"):
                serving = any(each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"])
                ref = {
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "namespace": namespace,
                    "uid": pod["metadata"]["uid"],
                }
                conditions = {"ready": serving and not leaving, "serving": serving, "terminating": leaving}
                made: Object = {
                    "addresses": [status["podIP"]],
                    "conditions": conditions,
                    "nodeName": pod["spec"]["nodeName"],
                    "targetRef": ref,
                }
                if self.shape.flavour in ("eks", "gke"):
                    made["zone"] = "eu-central-1" + "abc"[self.nodes.index(pod["spec"]["nodeName"]) % 3]
                endpoints.append(made)
        return self._slice(name, namespace, endpoints, ports if endpoints else [], self.owner("Service", name, "v1"))

    def _slice(
        self,
        name: str,
        namespace: str,
        endpoints: list[Object],
        ports: list[tuple[str, int, str]],
        owners: list[Object] | None = None,
        by: str = "endpointslice-controller.k8s.io",
    ) -> Object:
        labels: dict[str, str] = {"kubernetes.io/service-name": name} | (
            {"endpointslice.kubernetes.io/managed-by": by} if by else {}
        )
        meta = self.meta(
            f"{name}-fx2l7" if by else name,
            namespace,
            labels,
            generateName=f"{name}-" if by else "",
            ownerReferences=owners,
        )
        listed = [{"name": title, "port": number, "protocol": proto} for title, number, proto in ports]
        return {
            "addressType": "IPv4",
            "apiVersion": "discovery.k8s.io/v1",
            "endpoints": endpoints or None,
            "kind": "EndpointSlice",
            "metadata": meta,
            "ports": listed or None,
        }
