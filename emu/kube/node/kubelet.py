"""The kubelet of one node: a pod that is bound to the node gets a sandbox, an address from CNI, and its apps.

All containers of a pod share the sandbox's namespace; if two of them listen on one port, the first has it, and
the pod is not Ready. A pod for which its node has no address left waits (ContainerCreating), and is tried again. A deleted
pod serves until its grace period ends. Must not know controllers or proxies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from emu.apps import apps
from emu.apps.script import Scripted
from emu.apps.words import chosen as words_of
from emu.clock import MS, SECOND, Clock, Timer
from emu.errors import EmuError, InputError, SocketError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.api.core import Condition, Container, Pod, PodIP
from emu.kube.api.meta import Key, replace
from emu.kube.cni import datastore, links
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, Host, NoAddressLeft
from emu.kube.networks.network import Network
from emu.kube.node.bandwidth import BANDWIDTH, EGRESS, INGRESS, bandwidth_of
from emu.kube.node.found import NOTHING, Found, Listening
from emu.kube.node.lifetime import lifetime
from emu.kube.node.node import Container as Running
from emu.kube.node.node import Node, Sandbox
from emu.kube.node.script import talk
from emu.kube.node.undeclared import Port, open_ports
from emu.kube.store import Store
from emu.wire.addr import ip4, ip4_text
from emu.wire.shown import Ip4

APP_ANNOTATION = "emu/app"
# "false": the readiness probe fails; "at-once": the containers end at SIGTERM
READY_ANNOTATION, TERMINATE_ANNOTATION = "emu/ready", "emu/terminate"
WORDS = {READY_ANNOTATION: ("true", "false"), TERMINATE_ANNOTATION: ("at-once", "at-the-end")}
RETRY_NS = 10 * SECOND  # backOffPeriod: from a sync of a pod that failed to the next one
SANDBOX_STOP_NS = 100 * MS  # from the last container's end to the removal of the network
RESTART_NS, MAX_RESTART_NS = (
    10 * SECOND,
    300 * SECOND,
)  # a container that failed (pkg/kubelet/kubelet.go, MaxContainerBackOff)
IFNAME = "eth0"
Phase = Literal["Running", "Succeeded", "Failed"]
Wanted = tuple[str, int, str]  # app, port, protocol


class Dependencies(Protocol):
    """What a kubelet uses besides its node. `pods` are the sandboxes of all nodes by "namespace/name", `as_found` the
    pods that ran before the clock started, by uid, `under_way` holds the work that is due before the cluster has settled."""

    clock: Clock
    store: Store
    pods: dict[str, Sandbox]
    as_found: dict[str, Found]
    warnings: list[str]
    under_way: set[Any]

    def adopt(self, name: str, net: Netns, *, node: str) -> None:
        """A pod's namespace was made on `node`: capture and watch it."""

    def set_aside(self, name: str) -> None:
        """A pod's namespace is deleted, until it is adopted once more."""

    def disown(self, name: str) -> None:
        """A pod's namespace was deleted."""

    def started(self, app: Any) -> None:
        """An app of a pod was started."""

    def act(self) -> None:
        """Objects have changed: run controllers, scheduler and kubelets."""


def apps_of(pod: Pod, known: Listening = NOTHING) -> Iterator[tuple[Container, list[Wanted]]]:
    """Each container that keeps running, sidecars first, and the apps on its ports: `echo`, or the app that the annotation
    `emu/app: NAME@PORT[/udp]` names (several with commas; a port that no container declares belongs to the first container).
    What is `known` of a pod by other means yields to the annotation."""
    words = (part.strip() for part in pod.metadata.annotations.get(APP_ANNOTATION, "").split(","))
    chosen = words_of(filter(None, words), f"pod {pod.namespace}/{pod.name} annotation {APP_ANNOTATION}")
    chosen = {**known, **chosen}
    declared = {(port.container_port, port.protocol) for port in pod.spec.ports}
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    for container in (*sidecars, *pod.spec.containers):
        wanted: list[Wanted] = []
        # several names for one port are one socket
        for key in dict.fromkeys((each.container_port, str(each.protocol)) for each in container.ports):
            if key[1] != "SCTP":
                wanted.append((chosen.get(key, "echo"), *key))
        if container is pod.spec.containers[0]:
            wanted += [(app, *key) for key, app in chosen.items() if key not in declared]
        yield container, wanted


PORT_MAPPINGS = "portMappings"


def capability_args_of(pod: Pod) -> dict[str, Any]:
    """What the runtime gives the plugins for a pod: its hostPorts, in the order of the containers, each once in a container
    (kubelet's MakePortMappings, containerd's toCNIPortMappings)."""
    mappings: list[dict[str, Any]] = []
    for ports in pod.spec.ports_by_container:
        for each in dict.fromkeys((p.host_port, p.container_port, str(p.protocol), p.host_ip) for p in ports):
            host_port, container_port, protocol, host_ip = each
            if host_port:
                bound = {"hostIP": host_ip} if host_ip else {}
                mappings.append(
                    {"hostPort": host_port, "containerPort": container_port, "protocol": protocol.lower(), **bound}
                )
    return {PORT_MAPPINGS: mappings} if mappings else {}


@dataclass(slots=True, eq=False)
class _Waiting:
    """A pod for which its node had no address: the namespace that is ready for it, the timer of the next try, and the last
    error, which is reported when it was tried again without success."""

    uid: str
    net: Netns
    timer: Timer | None = None
    error: str = ""
    reported: bool = False


def _why_not_ready(ready: bool, phase: Phase) -> str:
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}
    return "" if ready else ended.get(phase, "ContainersNotReady")


class Kubelet:
    """`sync(changed)` starts and stops pods on the node until it runs those that the store binds to it."""

    def __init__(self, deps: Dependencies, node: Node, network: Network) -> None:
        self.deps, self.node, self.network = deps, node, network
        self.host = Host(node.net, disk=node.disk)
        self.runtime = Runtime()
        datastore.join(self.host, deps.store)
        network.prepare(self.host)
        if network.rules:
            node.add_rules(network.rules)
        self._ending: dict[str, Timer] = {}  # by uid
        self._leaving: set[str] = set()  # uids of pods without an object
        self._waiting: dict[str, _Waiting] = {}  # pods that have no network yet, by name

    def sync(self, changed: Collection[Key]) -> None:
        """Among these pods, start the new ones on the node and stop the deleted ones, in the order of creation. Raises
        InputError when the network refuses a pod."""
        here = (pod for pod in self.deps.store.found(Pod, changed) if pod.spec.node_name == self.node.name)
        wanted = {f"{pod.namespace}/{pod.name}": pod for pod in here if not pod.finished}
        names = {f"{key.namespace}/{key.name}" for key in changed}
        for name in [each for each in self._waiting if each in names]:
            if name not in wanted or wanted[name].metadata.uid != self._waiting[name].uid:
                self._give_up(name)
        for name in [each for each in self.node.sandboxes if each in names]:
            pod, sandbox = wanted.get(name), self.node.sandboxes[name]
            if pod is None and not sandbox.ended:
                self._leave(sandbox)
            elif (pod is None and sandbox.uid not in self._leaving) or (
                pod is not None and pod.metadata.uid != sandbox.uid
            ):
                self._stop(sandbox)
        for name, pod in wanted.items():
            if name not in self.node.sandboxes:
                if pod.metadata.uid in self.deps.as_found:
                    self._take_over(name, pod)
                elif not pod.terminating:
                    self._start(name, pod)
                elif name in self._waiting:
                    self._give_up(name)
                    self.deps.store.delete(pod.key, 0)
            elif pod.terminating:
                self._terminate(pod)
            elif pod.ready is not self._ready(pod, self.node.sandboxes[name]):
                self._report(pod, self.node.sandboxes[name])

    def _terminate(self, pod: Pod) -> None:
        """SIGTERM now, SIGKILL when the grace period ends; then the sandbox and the pod's object are deleted.

        The apps serve until they are killed, as servers that drain their connections do, unless the annotation
        emu/terminate is at-once.
        """
        uid, deps = pod.metadata.uid, self.deps
        at_once = pod.metadata.annotations.get(TERMINATE_ANNOTATION) == "at-once"
        grace_ns = 0 if at_once else (pod.metadata.deletion_grace_period_seconds or 0) * SECOND
        due_ns, planned = deps.clock.now + grace_ns, self._ending.get(uid)
        if planned is not None:
            if not planned.pending or planned.due_ns <= due_ns:
                return
            planned.cancel()
        deps.under_way.add(uid)
        self._ending[uid] = deps.clock.call_at(due_ns, partial(self._kill, pod.namespace, pod.name, uid))

    def _kill(self, namespace: str, name: str, uid: str) -> None:
        """The containers have ended: their sockets close, and the pod is not ready any more."""
        sandbox, pod = self.node.sandboxes.get(f"{namespace}/{name}"), self.deps.store.get(Pod, namespace, name)
        if sandbox is None or pod is None or sandbox.uid != uid:
            self._forget(uid)
            return
        self._end(sandbox)
        self._report(pod, sandbox)
        self.deps.clock.call_later(SANDBOX_STOP_NS, partial(self._remove, pod))

    def _remove(self, pod: Pod) -> None:
        """Delete the pod's network and its object."""
        sandbox = self.node.sandboxes.get(f"{pod.namespace}/{pod.name}")
        self._forget(pod.metadata.uid)
        if sandbox is not None and sandbox.uid == pod.metadata.uid:
            self.deps.store.delete(pod.key, 0)
            self.deps.act()

    def _leave(self, sandbox: Sandbox) -> None:
        """The pod's object was deleted at once: the containers are killed now, and then the sandbox is deleted."""
        self._end(sandbox)
        self._leaving.add(sandbox.uid)
        self.deps.under_way.add(sandbox.uid)
        self.deps.clock.call_later(SANDBOX_STOP_NS, partial(self._left, sandbox))

    def _left(self, sandbox: Sandbox) -> None:
        if self.node.sandboxes.get(sandbox.name) is sandbox:
            self._stop(sandbox)

    def _forget(self, uid: str) -> None:
        self._ending.pop(uid, None)
        self._leaving.discard(uid)
        self.deps.under_way.discard(uid)

    def _attachment(self, sandbox: Sandbox) -> Attachment:
        """As containerd makes it: the sandbox's own container has the attachment, the pod's name is in CNI_ARGS."""
        container_id = sandbox.uid.replace("-", "")
        args = (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={sandbox.namespace};K8S_POD_NAME={sandbox.pod};"
            f"K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID={sandbox.uid}"
        )
        if sandbox.found is not None:
            args += f";IP={sandbox.found.address}/32"
        return Attachment(container_id, sandbox.net, IFNAME, self.host, args)

    def _capability_args(self, name: str, pod: Pod) -> dict[str, Any]:
        found, network = capability_args_of(pod), self.network.config
        what = {}
        if found:
            what[PORT_MAPPINGS] = "hostPort " + ", ".join(
                f"{each['hostPort']}/{each['protocol']}" for each in found[PORT_MAPPINGS]
            )
        try:
            limits = bandwidth_of(pod.metadata.annotations)
        except InputError as error:
            raise error.at(path=f"pod {name}") from None
        if limits:
            found[BANDWIDTH] = limits
            what[BANDWIDTH] = "annotation " + ", ".join(
                each for each in (INGRESS, EGRESS) if each in pod.metadata.annotations
            )
        for capability, words in what.items():
            if not any((plugin.get("capabilities") or {}).get(capability) for plugin in network.plugins):
                self.deps.warnings.append(
                    f"pod {name}: {words} has no effect: no plugin of network {network.name} has the capability "
                    f"{capability}"
                )
        return found

    def _take_over(self, name: str, pod: Pod) -> None:
        """Run a pod that ran before the clock started, with the address and readiness that it had. One without an address stays as it
        is. One that the network does not take with its address is reported, and does not run."""
        state = self.deps.as_found[pod.metadata.uid]
        if not state.address:
            return
        try:
            self._start(name, pod, state)
        except InputError as error:
            self.deps.as_found[pod.metadata.uid] = state._replace(address="")
            self.deps.warnings.append(f"pod {name} is left out: {error.what}")

    def _start(self, name: str, pod: Pod, state: Found | None = None) -> None:
        deps, node = self.deps, self.node
        for annotation, words in WORDS.items():
            value = pod.metadata.annotations.get(annotation, words[0])
            if value not in words:
                path = f"pod {pod.namespace}/{pod.name} annotation {annotation}"
                raise InputError(f"cannot read {value!r}", path=path, expected=" or ".join(words))
        if pod.spec.host_network:
            address = node.ip if state is None else ip4(state.address)
            sandbox = Sandbox(pod.namespace, pod.name, pod.metadata.uid, node, node.net, address, found=state)
        else:
            net = self._namespace(name)
            sandbox = Sandbox(pod.namespace, pod.name, pod.metadata.uid, node, net, 0, found=state)
            sandbox.capability_args = self._capability_args(name, pod)
            try:
                sandbox.result = self.runtime.set_up(
                    self.network.config, self._attachment(sandbox), sandbox.capability_args
                )
            except NoAddressLeft as error:
                self._wait(name, pod, net, error)
                return
            except EmuError as error:
                deps.disown(name)
                raise InputError(f"pod {name} gets no network on {node.name}: {error}") from None
            deps.clock.drain()
            sandbox.ip = Ip4(ip4(sandbox.result.ips[0].address.partition("/")[0]))
        waits = self._waiting.pop(name, None)
        if waits is not None:
            if waits.timer is not None:
                waits.timer.cancel()
            deps.under_way.discard(sandbox.uid)
        node.sandboxes[name] = deps.pods[name] = sandbox
        self._run_all(pod, sandbox)
        if state is None:
            self._report(pod, sandbox)

    def _run_all(self, pod: Pod, sandbox: Sandbox) -> None:
        """Start the containers, and plan their end if the pod states one."""
        store, state = self.deps.store, sandbox.found
        known, silent = (open_ports(store, pod), ()) if state is None else (state.apps, state.silent)
        guessed = {*known} - {(each.container_port, each.protocol) for each in pod.spec.ports}
        sandbox.containers = [
            self._run(sandbox, container, wanted, guessed)
            for container, wanted in apps_of(pod, known)
            if container.name not in silent
        ]
        written = talk(pod)
        for app in (app for container in sandbox.containers for app in container.apps if written):
            if isinstance(app, Scripted):
                app.play(written)
        life = lifetime(pod)
        if life is not None:
            exits = partial(self._exit, pod.namespace, pod.name, sandbox, life.exit_code)
            self.deps.clock.call_later(life.runs_ns, exits, background=True)

    def open_more(self, pod: Pod) -> None:
        """A Service has come or changed: its targetPorts listen in a pod that runs, too."""
        sandbox = self.node.sandboxes.get(f"{pod.namespace}/{pod.name}")
        if sandbox is None or sandbox.uid != pod.metadata.uid or sandbox.ended:
            return
        first = next((each for each in sandbox.containers if each.name == pod.spec.containers[0].name), None)
        there = {port for each in sandbox.containers for port in each.ports}
        there |= {(each.container_port, each.protocol) for each in pod.spec.ports}  # silent, or taken by another
        wanted = [(app, *port) for port, app in open_ports(self.deps.store, pod).items() if port not in there]
        if first is not None and wanted:
            more = self._run(sandbox, pod.spec.containers[0], wanted, [each[1:] for each in wanted])
            first.apps += more.apps
            first.ports += more.ports

    def _exit(self, namespace: str, name: str, sandbox: Sandbox, code: int) -> None:
        """The containers have ended by themselves. If they failed and may run again, they do, after 10 s, doubled each time, up
        to 5 min (CrashLoopBackOff); else the pod has ended."""
        pod = self.deps.store.get(Pod, namespace, name)
        if pod is None or pod.metadata.uid != sandbox.uid or sandbox.ended:
            return
        self._end(sandbox)
        if code and pod.spec.restart_policy == "OnFailure" and not pod.terminating:
            self._report(pod, sandbox)
            delay_ns = min(RESTART_NS << sandbox.restarts, MAX_RESTART_NS)
            sandbox.restarts += 1
            self.deps.clock.call_later(delay_ns, partial(self._restart, namespace, name, sandbox), background=True)
        else:
            self._report(pod, sandbox, "Failed" if code else "Succeeded")
        self.deps.act()

    def _restart(self, namespace: str, name: str, sandbox: Sandbox) -> None:
        pod = self.deps.store.get(Pod, namespace, name)
        if pod is not None and self.node.sandboxes.get(sandbox.name) is sandbox and not pod.terminating:
            sandbox.ended = False
            self._run_all(pod, sandbox)
            self._report(pod, sandbox)
            self.deps.act()

    # -- pods without a network -------------------------------------------------------------------

    def _namespace(self, name: str) -> Netns:
        """A pod's namespace. The runtime makes another one for each try; here a pod that waits has the same again."""
        waits = self._waiting.get(name)
        net = boot.namespace(self.deps.clock, name, machine=self.node.net) if waits is None else waits.net
        self.deps.adopt(name, net, node=self.node.name)
        return net

    def _wait(self, name: str, pod: Pod, net: Netns, error: NoAddressLeft) -> None:
        """The pod stays ContainerCreating. The cluster settles when it has been tried a second time."""
        deps, uid = self.deps, pod.metadata.uid
        waits = self._waiting.get(name)
        first = waits is None
        if waits is None:
            waits = self._waiting[name] = _Waiting(uid, net)
            deps.under_way.add(uid)
        waits.error = str(error)
        deps.set_aside(name)
        if waits.timer is None:
            again = partial(self._try_again, pod.key, waits)
            waits.timer = deps.clock.call_later(RETRY_NS, again, background=not first)

    def _try_again(self, key: Key, waits: _Waiting) -> None:
        self.deps.under_way.discard(waits.uid)
        waits.timer = None
        if self._waiting.get(f"{key.namespace}/{key.name}") is waits:
            self.sync((key,))
            self.report_waiting()
            self.deps.act()

    def report_waiting(self) -> None:
        """A warning for each pod that waits, once: kubelet's event FailedCreatePodSandBox."""
        for name, waits in self._waiting.items():
            if not waits.reported:
                waits.reported = True
                what = f"stays ContainerCreating on {self.node.name}: {waits.error}"
                self.deps.warnings.append(f"pod {name}: {what}")

    def retry(self) -> bool:
        """Try the pods that wait once more, now; gives whether one of them started."""
        before = [*self._waiting]
        for name in before:
            pod = self.deps.store.get(Pod, *name.split("/"))
            if pod is not None:
                self._start(name, pod, self.deps.as_found.get(pod.metadata.uid))
        return len(self._waiting) < len(before)

    def _give_up(self, name: str) -> None:
        """A pod that waits was deleted."""
        waits = self._waiting.pop(name)
        if waits.timer is not None:
            waits.timer.cancel()
        self.deps.under_way.discard(waits.uid)
        self.deps.disown(name)

    @staticmethod
    def _ready(pod: Pod, sandbox: Sandbox) -> bool:
        held = pod.metadata.annotations.get(READY_ANNOTATION) == "false"
        held = held or (sandbox.found is not None and not sandbox.found.ready)
        return not held and not sandbox.ended and all(not container.errors for container in sandbox.containers)

    def _report(self, pod: Pod, sandbox: Sandbox, phase: Phase = "Running") -> None:
        """Write the pod's status."""
        ready, node = self._ready(pod, sandbox), self.node
        status = replace(
            pod.status,
            phase=phase,
            pod_ip=ip4_text(sandbox.ip),
            pod_ips=(PodIP(ip=ip4_text(sandbox.ip)),),
            host_ip=ip4_text(node.ip),
            conditions=(
                *(each for each in pod.status.conditions if each.type != "Ready"),
                Condition(type="Ready", status="True" if ready else "False", reason=_why_not_ready(ready, phase)),
            ),
        )
        self.deps.store.put(replace(pod, status=status))

    def _run(self, sandbox: Sandbox, container: Container, wanted: list[Wanted], guessed: Collection[Port]) -> Running:
        running = Running(container.name)
        for app, port, protocol in wanted:
            try:
                running.apps.append(apps[app](sandbox.net, port, protocol, sandbox.name))
                running.ports.append((port, protocol))
                self.deps.started(running.apps[-1])
            except SocketError as error:
                if (port, protocol) in guessed:  # another pod of the same network has it
                    continue
                running.errors[port] = error.name
                self.deps.warnings.append(
                    f"pod {sandbox.name}: container {container.name!r} cannot listen on {port}/{protocol}: {error.name}"
                )
        return running

    @staticmethod
    def _end(sandbox: Sandbox) -> None:
        """The containers' processes end."""
        if not sandbox.ended:
            sandbox.ended = True
            for container in sandbox.containers:
                for app in container.apps:
                    app.stop()

    def _stop(self, sandbox: Sandbox) -> None:
        self._end(sandbox)
        self._forget(sandbox.uid)
        del self.node.sandboxes[sandbox.name]
        there = self.deps.pods.get(sandbox.name)  # a pod of the same name may run on another node already
        if there is sandbox:
            del self.deps.pods[sandbox.name]
        if not sandbox.host_network:
            self.runtime.tear_down(self.network.config, self._attachment(sandbox))
            for device in [
                each for each in sandbox.net.devices if each != "lo"
            ]:  # what no plugin deleted goes with the namespace
                links.delete_veth(self.host, sandbox.net, device)
            if there is sandbox or (there is not None and there.host_network):
                self.deps.disown(sandbox.name)
