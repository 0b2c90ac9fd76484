"""A cluster whose flows and changes happen on both sides: the kernel's first, then, with its draws, the emulator's.

It has `Cluster`'s calls, so that the scenario's own runner drives it. Must not know how the sides are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from emu import craft
from emu.clock import MS, SECOND
from emu.errors import SocketError, Undecided
from emu.kube.cluster import Cluster
from emu.kube.dns.resolver import BOTH
from emu.kube.flow import ends as target
from emu.kube.flow import lookup
from emu.kube.flow import ping as pings
from emu.kube.flow import tcp as streams
from emu.kube.flow import udp as datagrams
from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import failed
from emu.twin.twin import Twin

# A kernel's timers are never early, and late by what the timer wheel's levels and a busy machine make of them: a client
# there waits that much longer, so that what is due just when it gives up comes first on both sides
LATE = 1.065
SEND_NS = 20 * MS  # how long a user's own packet is watched


class TwinCluster(Cluster):
    """A cluster whose flows and changes happen in the kernel, too, once `twin` is set."""

    twin: Twin | None = None

    def _both(
        self, kind: str, source: str, where: Target, real: Callable[[Flow], object], emulated: Callable[[], Flow],
        *, judged: bool = True,
    ) -> Flow:  # fmt: skip
        if self.twin is None or self.twin.report.undecided:
            return emulated()
        try:
            self.twin.prepare()
        except Undecided as reason:
            self.twin.report.undecided = str(reason)
            return emulated()
        return self.twin.flow(self.netns(source), kind, where, real, emulated, judged=judged)

    def _named(self, made: Flow, talk: Callable[[], None]) -> None:
        """Look the target's name up, if it has one, and talk to it."""
        if lookup.resolve(made, self.dns):
            talk()

    def tcp(
        self, source: str, to: str | Target, send: bytes = b"", *, port: int = 0, close: bool = True,
        timeout_s: float = 10, name: str = "",
    ) -> Flow:  # fmt: skip
        where = to if isinstance(to, Target) else self.resolve(to, "TCP")
        return self._both(
            "tcp", source, where,
            lambda made: self._named(made, lambda: streams.tcp(made, send, port=port, timeout_ns=_patience(timeout_s), close=close)),
            lambda: super(TwinCluster, self).tcp(
                source, where, send, port=port, close=close, timeout_s=timeout_s, name=name
            ),
        )  # fmt: skip

    def udp(
        self, source: str, to: str | Target, send: bytes = b"ping", *, port: int = 0, connected: bool = True,
        reply: bool = True, timeout_s: float = 5, name: str = "",
    ) -> Flow:  # fmt: skip
        where = to if isinstance(to, Target) else self.resolve(to, "UDP")
        return self._both(
            "udp", source, where,
            lambda made: self._named(made, lambda: datagrams.udp(made, send, port=port, timeout_ns=_patience(timeout_s), connected=connected, reply=reply)),
            lambda: super(TwinCluster, self).udp(
                source, where, send, port=port, connected=connected, reply=reply, timeout_s=timeout_s, name=name
            ),
            judged=reply,
        )  # fmt: skip

    def ping(
        self, source: str, to: str | Target, count: int = 1, *, interval_s: float = 1, size: int = 56, ttl: int = 0,
        timeout_s: float = 5, name: str = "",
    ) -> Flow:  # fmt: skip
        where = to if isinstance(to, Target) else target.without_port(self, to)
        interval_ns, timeout_ns = int(interval_s * SECOND), _patience(timeout_s)
        return self._both(
            "ping", source, where,
            lambda made: self._named(made, lambda: pings.ping(made, count=count, interval_ns=interval_ns, size=size, timeout_ns=timeout_ns, ttl=ttl)),
            lambda: super(TwinCluster, self).ping(
                source, where, count, interval_s=interval_s, size=size, ttl=ttl, timeout_s=timeout_s, name=name
            ),
        )  # fmt: skip

    def send(
        self, source: str, packet: Any, *, device: str | None = None, timeout_s: float = 5, name: str = ""
    ) -> Flow:
        built = craft.expression(packet) if isinstance(packet, str) else packet
        return self._both(
            "send", source, Target(0, 0, "the link"),
            lambda made: _send(made, built, device),
            lambda: super(TwinCluster, self).send(source, built, device=device, timeout_s=timeout_s, name=name),
            judged=False,
        )  # fmt: skip

    def more(
        self, before: Flow, send: bytes = b"", *, close: bool = True, timeout_s: float = 10, name: str = ""
    ) -> Flow:
        made = self.twin.real.get(before.number) if self.twin is not None else None
        return self._both(
            "tcp", before.source, before.target,
            lambda after: streams.more(after, cast(Flow, made), send, timeout_ns=_patience(timeout_s), close=close),
            lambda: super(TwinCluster, self).more(before, send, close=close, timeout_s=timeout_s, name=name),
        )  # fmt: skip

    def resolve_name(self, source: str, name: str, *kinds: str) -> Flow:
        return self._both(
            "lookup", source, Target(0, 0, name, name),
            lambda made: made.looked_up(lookup.look_up(made, self.dns, name, kinds or BOTH)),
            lambda: super(TwinCluster, self).resolve_name(source, name, *kinds),
        )  # fmt: skip

    def settle(self) -> None:
        super().settle()
        self._carry_over("the cluster settles")

    def wait(self, seconds: float) -> None:
        if self.twin is not None and not self.twin.report.undecided:
            self.twin.loop.run_until(self.twin.loop.now + int(seconds * SECOND))
        super().wait(seconds)

    def link(self, where: str, **changes: Any) -> None:
        super().link(where, **changes)
        self._carry_over(f"link of {where}")

    def _carry_over(self, name: str) -> None:
        if self.twin is not None and not self.twin.report.undecided:
            try:
                self.twin.change(name)
            except Undecided as reason:
                self.twin.report.undecided = str(reason)


def _patience(timeout_s: float) -> int:
    return int(timeout_s * LATE * SECOND)


def _send(made: Flow, packet: Any, device: str | None) -> None:
    try:
        made.client.sockets.send_packet(packet, made.number, device)
    except SocketError as failure:
        made.outcome = failed(failure)
        return
    clock = made.testbed.clock
    clock.run_until(clock.now + SEND_NS)
