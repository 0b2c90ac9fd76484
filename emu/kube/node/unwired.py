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
from emu.kernel.link.device import IN, Device, Tap
from emu.kube.api.core import Pod
from emu.kube.node.found import Listening
from emu.kube.node.node import Node, Sandbox
from emu.wire.frame import BROADCAST, ETH_P_ARP, OTHERHOST, Frame


class PutOff(NamedTuple):
    """A pod, as it was when it started, what it listened on beside its declared ports, and the index of its device on the node."""

    sandbox: Sandbox
    pod: Pod
    known: Listening
    moment: Moment
    ifindex: int


class Touch:
    """The tap of a device of the node, before the one `behind` it: with the first frame that pods may concern the node awakes, and there is
    only that one."""

    __slots__ = ("_device", "_wake", "behind")

    def __init__(self, device: Device, wake: Callable[[], None]) -> None:
        self._device, self._wake = device, wake
        self.behind: Tap | None = None
        self._begin()

    def _begin(self) -> None:
        self.behind, self._device.tap = self._device.tap, self

    def end(self) -> None:
        if self._device.tap is self:
            self._device.tap = self.behind

    def __call__(self, frame: Frame, direction: int) -> None:
        self.end()  # the tap behind may put another one into its own place
        passes = direction == IN and _is_for_others(frame, self._device)
        if not passes:
            self._wake()
        tap: Tap | None = self._device.tap
        if tap is not None:
            tap(frame, direction)
        if passes:
            self._begin()


def _is_for_others(frame: Frame, device: Device) -> bool:
    """A frame that a switch has sent to all hosts on a link: it ends here, whatever pods there are. A node that proxies ARP looks for a
    route to the pod that is asked for."""
    if device.rx_handler is not None or device.ingress is not None or device.vlans is not None:
        return False
    if frame.pkt_type == OTHERHOST:
        return True
    is_question = frame.pkt_type == BROADCAST and frame.ethertype == ETH_P_ARP
    return is_question and not device.net.sysctl.conf(device.name, "proxy_arp")


class Unwired:
    """`pods` by name, in the order of their starts. The first pod of the node is wired at once: it shows what one costs, and what is
    wrong with the network. `wire` does what was put off, at the pod's own time; `unseen` makes a call whose frames no capture has."""

    def __init__(
        self, clock: Clock, node: Node, wire: Callable[[PutOff], None], unseen: Callable[[Callable[[], None]], None]
    ) -> None:
        self._clock, self._node, self._wire, self._unseen = clock, node, wire, unseen
        self.pods: dict[str, PutOff] = {}
        self._touches: list[Touch] = []
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
            devices = self._node.root.devices.values()
            self._touches = [Touch(each, self.wake) for each in devices if not each.loopback]
        clock = self._clock
        self.pods[sandbox.name] = PutOff(sandbox, pod, known, clock.moment, self._node.root.reserve())
        clock.skip_to(self._after(clock.moment))

    def _after(self, moment: Moment) -> Moment:
        assert self._cost is not None
        return Moment(moment.now_ns + self._cost.now_ns, moment.packets + self._cost.packets, moment.turn)

    def wake(self) -> None:
        node = self._node
        if node.later is not self:
            return
        node.later = None
        for touch in self._touches:
            touch.end()
        self._touches.clear()
        self._unseen(self._wire_all)

    def _wire_all(self) -> None:
        pods, self.pods = self.pods, {}
        root = self._node.root
        for each in pods.values():
            done = self._clock.earlier(each.moment, partial(root.late, each.ifindex, partial(self._wire, each)))
            assert done == self._after(each.moment), f"{each.sandbox.name} was wired at another cost than the first pod"
        root.in_order()
