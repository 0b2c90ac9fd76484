"""The kubelet of one node: a pod that is bound to the node gets a sandbox, an address from CNI, and its apps.

All containers of a pod share the sandbox's namespace; if two of them listen on one port, the first has it, and
the pod is not Ready. A pod for which its node has no address left waits (ContainerCreating), and is tried again. A deleted
pod serves until its grace period ends. Must not know controllers or proxies.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

from emu.apps import apps
from emu.apps.script import Scripted
from emu.clock import MS, SECOND, Timer
from emu.errors import EmuError, InputError, SocketError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.api.core import Condition, Container, Pod, PodIP
from emu.kube.api.meta import Key, replace
from emu.kube.cni import datastore, links
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, Host, NoAddressLeft, Result
from emu.kube.networks.network import Network
from emu.kube.node.capabilities import capability_args
from emu.kube.node.dependencies import Dependencies
from emu.kube.node.found import Found, Listening
from emu.kube.node.lifetime import lifetime
from emu.kube.node.node import Container as Running
from emu.kube.node.node import Node, Sandbox, Wired
from emu.kube.node.script import talk
from emu.kube.node.undeclared import Port, open_ports
from emu.kube.node.unwired import PutOff, Unwired
from emu.kube.node.wanted import Wanted, apps_of, ordinary
from emu.wire.addr import ip4, ip4_text
from emu.wire.shown import Ip4

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

    def __init__(self, deps: Dependencies, node: Node, network: Network, *, put_off: bool = False) -> None:
        """`put_off`: a pod may be wired later than it starts, where that shows nowhere (`unwired.py`)."""
        self.deps, self.node, self.network = deps, node, network
        self._host = Host(node.root, disk=node.disk)
        self._runtime = Runtime()
        datastore.join(self._host, deps.store)
        network.prepare(self._host)
        if network.rules:
            node.add_rules(network.rules)
        self._ending: dict[str, Timer] = {}  # by uid
        self._leaving: set[str] = set()  # uids of pods without an object
        self._waiting: dict[str, _Waiting] = {}  # pods that have no network yet, by name
        self._unwired = Unwired(deps.clock, node, self._wire_late, deps.unseen) if put_off else None

    @property
    def host(self) -> Host:
        self.node.wake()
        return self._host

    @property
    def runtime(self) -> Runtime:
        self.node.wake()
        return self._runtime

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

    def _attachment(self, sandbox: Sandbox, net: Netns | None) -> Attachment:
        """As containerd makes it: the sandbox's own container has the attachment, the pod's name is in CNI_ARGS."""
        container_id = sandbox.uid.replace("-", "")
        args = (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={sandbox.namespace};K8S_POD_NAME={sandbox.pod};"
            f"K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID={sandbox.uid}"
        )
        if sandbox.found is not None:
            args += f";IP={sandbox.found.address}/32"
        return Attachment(container_id, net, IFNAME, self._host, args)

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
        deps.clock.turn += 1
        for annotation, words in WORDS.items():
            value = pod.metadata.annotations.get(annotation, words[0])
            if value not in words:
                path = f"pod {pod.namespace}/{pod.name} annotation {annotation}"
                raise InputError(f"cannot read {value!r}", path=path, expected=" or ".join(words))
        sandbox = Sandbox(pod.namespace, pod.name, pod.metadata.uid, node, 0, found=state)
        known, silent = self._listening(pod, state)
        later, started = self._unwired, deps.clock.moment
        if later is not None and node.later is not None:
            alone = state is None and not (deps.clock.backlog or deps.capturing or name in self._waiting)
            may = alone and ordinary(pod, known)
            if may and later.begun and self._put_off(later, sandbox, pod, known):
                return
            if later.begun or not may:
                later.wake()
        if pod.spec.host_network:
            sandbox.ip, sandbox.host_network = Ip4(node.ip if state is None else ip4(state.address)), True
            sandbox.wired = Wired(node.net)
        else:
            net = self._namespace(name)
            sandbox.capability_args = capability_args(name, pod, self.network, deps.warnings)
            try:
                result = self._set_up(sandbox, net)
            except NoAddressLeft as error:
                node.wake()
                self._wait(name, pod, net, error)
                return
            except EmuError as error:
                deps.disown(name)
                raise InputError(f"pod {name} gets no network on {node.name}: {error}") from None
            deps.clock.drain()
            sandbox.wired = Wired(net, result)
            sandbox.ip = Ip4(ip4(result.ips[0].address.partition("/")[0]))
        waits = self._waiting.pop(name, None)
        if waits is not None:
            if waits.timer is not None:
                waits.timer.cancel()
            deps.under_way.discard(sandbox.uid)
        node.sandboxes[name] = deps.pods[name] = sandbox
        self._run_all(pod, sandbox, known, silent)
        if later is not None and node.later is not None:
            later.begin(started)
            deps.hold(sandbox)
        if state is None:
            self._report(pod, sandbox)

    def _set_up(self, sandbox: Sandbox, net: Netns) -> Result:
        """Raises NoAddressLeft and other EmuErrors."""
        attachment = self._attachment(sandbox, net)
        return self._runtime.set_up(self.network.config, attachment, sandbox.capability_args)

    def _put_off(self, later: Unwired, sandbox: Sandbox, pod: Pod, known: Listening) -> bool:
        """Start a pod with an address alone. False: it is to be wired now."""
        try:
            lease = self._runtime.lease(self.network.config, self._attachment(sandbox, None))
        except EmuError:  # the ADD gives the error
            lease = None
        if lease is None:
            return False
        sandbox.ip = Ip4(lease.ips[0].addr)
        later.put_off(sandbox, pod, known)
        self.deps.hold(sandbox)
        self.node.sandboxes[sandbox.name] = self.deps.pods[sandbox.name] = sandbox
        self._report(pod, sandbox)
        return True

    def _wire_late(self, put_off: PutOff) -> None:
        """What `_put_off` has left out."""
        sandbox, pod, known, *_ = put_off
        net = boot.namespace(self.deps.clock, sandbox.name, machine=self.node.root)
        sandbox.wired = Wired(net)
        self.deps.adopt(sandbox.name, net, node=self.node.name)
        sandbox.wired.result = self._set_up(sandbox, net)
        self.deps.clock.drain()
        self._run_all(pod, sandbox, known, ())

    def _listening(self, pod: Pod, state: Found | None) -> tuple[Listening, Collection[str]]:
        """The apps by port that are known beside the declared ones, and the containers that do not run."""
        return (open_ports(self.deps.store, pod), ()) if state is None else (state.apps, state.silent)

    def _run_all(self, pod: Pod, sandbox: Sandbox, known: Listening, silent: Collection[str]) -> None:
        """Start the containers, and plan their end if the pod states one."""
        guessed = {*known} - {(each.container_port, each.protocol) for each in pod.spec.ports}
        wired = sandbox.wired
        assert wired is not None
        wired.containers = [
            self._run(sandbox, container, wanted, guessed)
            for container, wanted in apps_of(pod, known)
            if container.name not in silent
        ]
        written = talk(pod)
        for app in (app for container in wired.containers for app in container.apps if written):
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
        # silent, or taken by another
        there: set[tuple[int, str]] = {(each.container_port, each.protocol) for each in pod.spec.ports}
        if sandbox.wired is None and self._unwired is not None:
            there.update(self._unwired.pods[sandbox.name].known)
        more = {port: app for port, app in open_ports(self.deps.store, pod).items() if port not in there}
        if not more:
            return
        first = next((each for each in sandbox.containers if each.name == pod.spec.containers[0].name), None)
        there = {port for each in sandbox.containers for port in each.ports}
        wanted = [(app, *port) for port, app in more.items() if port not in there]
        if first is not None and wanted:
            running = self._run(sandbox, pod.spec.containers[0], wanted, [each[1:] for each in wanted])
            first.apps += running.apps
            first.ports += running.ports

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
            known, silent = self._listening(pod, sandbox.found)
            self._run_all(pod, sandbox, known, silent)
            self._report(pod, sandbox)
            self.deps.act()

    # -- pods without a network -------------------------------------------------------------------

    def _namespace(self, name: str) -> Netns:
        """A pod's namespace. The runtime makes another one for each try; here a pod that waits has the same again."""
        waits = self._waiting.get(name)
        net = boot.namespace(self.deps.clock, name, machine=self.node.root) if waits is None else waits.net
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
        containers = () if sandbox.wired is None else sandbox.wired.containers  # an ordinary pod has no errors
        return not held and not sandbox.ended and all(not container.errors for container in containers)

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
        assert sandbox.wired is not None
        running, net = Running(container.name), sandbox.wired.net
        for app, port, protocol in wanted:
            try:
                running.apps.append(apps[app](net, port, protocol, sandbox.name))
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
            self._runtime.tear_down(self.network.config, self._attachment(sandbox, sandbox.net))
            for device in [
                each for each in sandbox.net.devices if each != "lo"
            ]:  # what no plugin deleted goes with the namespace
                links.delete_veth(self._host, sandbox.net, device)
            if there is sandbox or (there is not None and there.host_network):
                self.deps.disown(sandbox.name)
