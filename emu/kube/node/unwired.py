"""The pods of a node whose network was put off: a pod that no packet reaches has an address, and needs no namespace.

An ordinary pod of a node that nothing has touched gets its address when it starts; the time passes, and the packets come and go,
that its wiring takes. All else is done when the first frame passes a device of the node, or when someone asks for a namespace
there: pod after pod as each started, at the time when it did, so that nothing shows afterwards that it was done late. From then on
nothing is put off on the node. Must not know what is wired, nor how, nor who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from emu.clock import Clock, Moment
from emu.kube.api.core import Pod
from emu.kube.node.found import Listening
from emu.kube.node.node import Node, Sandbox
from emu.wire.frame import Frame


class PutOff(NamedTuple):
    """A pod, as it was when it started, and what it listened on beside its declared ports."""

    sandbox: Sandbox
    pod: Pod
    known: Listening
    moment: Moment


class Unwired:
    """`pods` by name, in the order of their starts. The first pod of the node is wired at once: it shows what one costs, and what is
    wrong with the network. `wire` does what was put off, at the pod's own time."""

    def __init__(self, clock: Clock, node: Node, wire: Callable[[PutOff], None]) -> None:
        self._clock, self._node, self._wire = clock, node, wire
        self.pods: dict[str, PutOff] = {}
        self._cost: Moment | None = None  # the time and the packets of one wiring
        node.later = self

    @property
    def begun(self) -> bool:
        """Has the node a pod that is wired?"""
        return self._cost is not None

    def begin(self, started: Moment) -> None:
        """The node's first pod was wired, from `started` until now."""
        self._cost = Moment(self._clock.now - started.now_ns, self._clock.packets - started.packets)

    def put_off(self, sandbox: Sandbox, pod: Pod, known: Listening) -> None:
        """The pod starts now, in no other way than if it were wired now."""
        if not self.pods:
            for device in self._node.root.devices.values():
                if not device.loopback:
                    device.tap = self.touched
        clock = self._clock
        self.pods[sandbox.name] = PutOff(sandbox, pod, known, clock.moment)
        clock.skip_to(self._after(clock.moment))

    def _after(self, moment: Moment) -> Moment:
        assert self._cost is not None
        return Moment(moment.now_ns + self._cost.now_ns, moment.packets + self._cost.packets)

    def touched(self, frame: Frame, direction: int) -> None:
        """The tap of each device of the node."""
        self.wake()

    def wake(self) -> None:
        node = self._node
        if node.later is not self:
            return
        node.later = None
        for device in node.root.devices.values():
            if device.tap == self.touched:
                device.tap = None
        pods, self.pods = self.pods, {}
        for each in pods.values():
            done = self._clock.earlier(each.moment, partial(self._wire, each))
            assert done == self._after(each.moment), f"{each.sandbox.name} was wired at another cost than the first pod"
