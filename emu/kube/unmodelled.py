"""The settings of a cluster that are not modelled: each is reported once, and flows that depend on one are undecided.

The declarations are elsewhere (`kernel/sysctl_table.py`, `api/fields.py`, `api/kinds.py`, `cni/keys.py`); here one
cluster is compared with them. Must not know files, or how flows are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kernel.sysctl import report
from emu.kernel.sysctl_table import TABLE
from emu.kube.api.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from emu.kube.api.check import remarks_of
from emu.kube.api.cluster_policy import ClusterNetworkPolicy
from emu.kube.api.core import Pod
from emu.kube.api.loader import Objects
from emu.kube.api.meta import Key, Object, Other
from emu.kube.api.networking import NetworkPolicy
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.keys import remarks as cni_remarks
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import Outcome
from emu.kube.node.node import Node, Sandbox
from emu.kube.plan import ClusterConfig
from emu.kube.policy.dataplane import Dataplane, usual
from emu.kube.policy.follow import Live
from emu.kube.policy.rules import Way, compiled
from emu.kube.store import Event, Store
from emu.modelled import Finding, NotModelled
from emu.wire.addr import ip4

POLICIES = (NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy)
DNS_NAMESPACE, DNS_LABELS = "kube-system", {"k8s-app": "kube-dns"}
LOOPBACK = 127
_VARIABLES = frozenset(row.name.rpartition(".")[2] for row in TABLE if isinstance(row.treatment, NotModelled))

Reason = tuple[str, str, str]
"""The detail, place and `by` of an undecided outcome."""


class _Watch:
    """Follows the sysctls of one namespace, of which a cluster has many."""

    __slots__ = ("_name", "_net", "_unmodelled")

    def __init__(self, unmodelled: Unmodelled, name: str, net: Netns) -> None:
        self._unmodelled, self._name, self._net = unmodelled, name, net

    def __call__(self, variable: str) -> None:
        self._unmodelled.written(self._name, self._net, variable)


class Unmodelled:
    """`warnings` holds one sentence for each setting that is not modelled, `reported` the same as findings.

    `nodes` (by name) and `pods` (by "namespace/name") are those that run now.
    """

    def __init__(
        self, store: Store, nodes: Mapping[str, Node], pods: Mapping[str, Sandbox], warnings: list[str]
    ) -> None:
        self.store, self.nodes, self.pods, self.warnings = store, nodes, pods, warnings
        self.reported: list[Finding] = []
        self._seen: set[tuple[str, str]] = set()
        self._by_ip: dict[int, Node] = {}
        self._enforcing: Dataplane | None = None
        self._network, self._unheeded = "", ""
        self._unjudged: set[Key] = set()  # the policies that nothing modelled enforces, though the cluster does
        self._policies_live: Live | None = None
        self._sysctls: dict[str, list[tuple[str, NotModelled]]] = {}  # by namespace: the settings that decide outcomes

    # -- reports --------------------------------------------------------------------------------

    def given(self, config: ClusterConfig, objects: Iterable[Object]) -> None:
        """Check the cluster's configuration and objects, before anything runs."""
        for finding in config.findings:
            self._warn(finding)
        for name, value in (config.sysctls or {}).items():
            try:
                text = report(name, value)
            except InputError:  # a wrong name or value ends the boot with its own error
                continue
            if text:
                self._warn(Finding("", "cluster.sysctls", text))
        if isinstance(objects, Objects):  # the loader has checked them, and knows their places
            for finding in objects.notes:
                self._warn(finding)
            return
        for obj in objects:
            self.applied(obj)

    def findings(self, found: Iterable[Finding]) -> None:
        """Report what the assembly has found."""
        for each in found:
            self._warn(each)

    def applied(self, obj: Object) -> None:
        """Check an object that a user made."""
        if not isinstance(obj, Other):
            for remark in remarks_of(obj):
                self._warn(Finding("", str(obj.key), remark.what, remark.id))

    def network(self, config: NetworkConfigList, name: str) -> None:
        """Check the pod network's configuration; `name` is a file's, or a built-in network's."""
        place = name if name.endswith((".conflist", ".conf", ".json")) else ""
        for about, what in cni_remarks(config):
            self._warn(Finding(place, about, what))

    def watch(self, name: str, net: Netns) -> None:
        """A namespace joins: report its sysctls that are set, now or later, and not modelled."""
        net.sysctl.on_change(_Watch(self, name, net))
        self._look(name, net)

    def forget(self, name: str) -> None:
        """A namespace was deleted."""
        self._sysctls.pop(name, None)

    def written(self, name: str, net: Netns, variable: str) -> None:
        """A sysctl of a namespace was written."""
        if variable.rpartition(".")[2] in _VARIABLES:
            self._look(name, net)

    def _look(self, name: str, net: Netns) -> None:
        deciding = []
        for variable, value, row in net.sysctl.not_modelled():
            text = report(variable, value)
            if ("cluster.sysctls", text) not in self._seen:
                self._warn(Finding("", name, text))
            if row.fate is not None:
                deciding.append((text, row))
        if deciding:
            self._sysctls[name] = deciding
        else:
            self._sysctls.pop(name, None)

    def _warn(self, finding: Finding) -> None:
        key = finding.about, finding.what
        if key not in self._seen:
            self._seen.add(key)
            self.warnings.append(str(finding))
            self.reported.append(finding)

    # -- outcomes -------------------------------------------------------------------------------

    def judge(self, flow: Flow) -> None:
        """Make the outcome of a flow `undecided` where it depends on what is not modelled."""
        outcome = flow.outcome
        unsent = not flow.arrivals and not flow.losses and flow.resolved is None
        if outcome.word == "undecided" or (outcome.word == "error" and unsent):
            return
        for reasons in (self._policies(flow), self._host_aliases(flow), self._fates(flow)):
            reason = next(reasons, None)
            if reason is not None:
                flow.outcome = Outcome("undecided", *reason)
                return

    def _receivers(self, flow: Flow) -> list[str]:
        """The namespaces, without the client's, that a packet of the flow reached or was dropped in."""
        names = [name for name, _ in flow.arrivals] + [loss.netns for loss in flow.losses]
        if not flow.arrivals:
            there = (f"{key.namespace}/{key.name}" for key in self.store.index(Pod, _address_of).keys(flow.target.addr))
            names += [name for name in there if name in self.pods and not self.pods[name].host_network]
        if flow.resolved is not None and flow.resolved.asked:
            names += [f"{pod.namespace}/{pod.name}" for pod in self.store.list(Pod, DNS_NAMESPACE, DNS_LABELS)]
        return [name for name in dict.fromkeys(names) if name != flow.source]

    def policy(self, dataplane: Dataplane | None, network: str, policies: Live) -> None:
        """What enforces policies in the cluster; None: something that is not modelled."""
        self._enforcing, self._network, self._policies_live = dataplane, network, policies
        for kind in POLICIES:
            self.store.watch(kind, self._policy, existing=True)

    def _policy(self, event: Event, obj: Object, old: Object | None) -> None:
        if event == "DELETED":
            self._unjudged.discard(obj.key)
        elif self._enforcing is None:
            self._unjudged.add(obj.key)
            what = f"what enforces it with network {self._network} is not modelled"
            what += ": a flow of a pod that it selects is undecided"
            self._warn(Finding("", str(obj.key), what, "policy-not-modelled"))
        elif not self._enforcing.kinds:
            self._unheeded = self._unheeded or str(obj.key)  # one warning, about the first
            what = f"network {self._network} enforces no policy: {self._unheeded} has no effect, nor has any other"
            what += f" (policy: {usual(self._network)} enforces them)"
            self._warn(Finding("", "cluster.policy", what, "policy-without-effect"))
        elif not isinstance(obj, self._enforcing.kinds):
            name = self._enforcing.name
            what = f"{name} enforces no {obj.kind}, so that it has no effect"
            self._warn(Finding("", str(obj.key), what, "policy-without-effect"))
        elif isinstance(obj, POLICIES):
            unread = self._enforcing.unread(compiled(obj))
            if unread:
                self._warn(Finding("", str(obj.key), unread, "policy-not-modelled"))

    def _policies(self, flow: Flow) -> Iterator[Reason]:
        """Where it is not modelled what enforces policies: the first that selects an end of the flow, unless all is allowed."""
        live = self._policies_live
        if live is None or not self._unjudged:
            return
        source, receivers = self.pods.get(flow.source), self._receivers(flow)
        if source is not None and not self._at_home(flow, source, receivers):
            yield from self._selected(live, "egress", flow.source, source)
        for name in receivers:
            pod = self.pods.get(name)
            if pod is not None and flow.client is not pod.node.root:  # the pod's own node may always reach it
                yield from self._selected(live, "ingress", name, pod)

    def _at_home(self, flow: Flow, source: Sandbox, receivers: list[str]) -> bool:
        """Whether no policy applies to the flow: it stays in the pod itself, or between the pod and its own node."""
        if flow.target.addr >> 24 == LOOPBACK or flow.target.addr == source.ip:
            return True
        if receivers:
            return all(name == source.node.name for name in receivers)
        return flow.delivered and not flow.losses

    def _selected(self, live: Live, way: Way, name: str, sandbox: Sandbox) -> Iterator[Reason]:
        """The first policy that binds a pod in a direction, unless a NetworkPolicy's rule allows everything."""
        end = live.index.pod(sandbox.namespace, sandbox.pod)
        if end is None or end.pod is None:
            return
        found = live.index.selecting(end.pod, way)
        policies = (*found.admin, *found.own, *found.baseline)
        open_ = any(rule.peers is None and rule.ports is None for each in found.own for rule in each.rules[way])
        if policies and (found.admin or not open_):
            key = str(Key(policies[0].kind.lower(), policies[0].namespace, policies[0].name))
            what = f"{key} selects {name} for {way.title()}, and what enforces it is not modelled"
            yield what, name, key

    def _node_at(self, addr: int) -> Node | None:
        if not self._by_ip:  # no node joins a running cluster
            self._by_ip = {node.ip: node for node in self.nodes.values()}
        return self._by_ip.get(addr)

    def _host_aliases(self, flow: Flow) -> Iterator[Reason]:
        sandbox = self.pods.get(flow.source)
        if flow.resolved is None or sandbox is None:
            return
        pod = self.store.get(Pod, sandbox.namespace, sandbox.pod)
        asked = flow.resolved.name.removesuffix(".").lower()
        aliases = pod.spec.host_aliases if pod is not None else ()
        if any(asked == name.lower() for alias in aliases for name in alias.hostnames):
            yield f"hostAliases of {flow.source} are not modelled", flow.source, asked

    def _fates(self, flow: Flow) -> Iterator[Reason]:
        if not self._sysctls:
            return
        way = {flow.source, *self._receivers(flow)}
        way |= {self.pods[name].node.name for name in way if name in self.pods}
        direct = any(pod.ip == flow.target.addr for pod in self.pods.values()) or flow.source in self.pods
        if not direct or self._node_at(flow.target.addr) is not None:
            way |= set(self.nodes)  # a Service may send the flow through any node
        for name, rows in self._sysctls.items():
            if name not in way and (name in self.pods or name in self.nodes):
                continue
            for text, row in rows:
                if row.fate is not None and row.fate.concerns(flow.kind, flow.outcome.word):
                    yield text, name, ""


def _address_of(pod: Pod) -> tuple[int, ...]:
    return (ip4(pod.status.pod_ip),) if pod.status.pod_ip else ()
