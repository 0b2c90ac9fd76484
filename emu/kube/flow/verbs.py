"""The verbs that run flows: tcp, more, udp, ping, send and resolve_name, over the ends of what derives from `Verbs`.

What people give is checked here, before the first packet. Must not know how ends are made.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from emu import craft
from emu.capture.capture import Capture
from emu.clock import SECOND, Clock
from emu.errors import InputError
from emu.kernel.net.netns import Netns, Tally
from emu.kube.flow import ends as target
from emu.kube.flow import given, lookup, programs
from emu.kube.flow import packet as packets
from emu.kube.flow import ping as pings
from emu.kube.flow import tcp as streams
from emu.kube.flow import udp as datagrams
from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow, Talk
from emu.kube.node.node import Node, Sandbox
from emu.kube.store import Store
from emu.wire.addr import ip4

if TYPE_CHECKING:
    from emu.craft import Packet


class Verbs:
    """Runs flows, numbered from 1 in `flows`. An end is a reference (see `ends.py`); one that nothing has raises InputError, as
    does a number out of its range, and text where bytes are sent."""

    clock: Clock
    capture: Capture | None
    store: Store
    nodes: dict[str, Node]
    pods: dict[str, Sandbox]
    namespaces: MutableMapping[str, Netns]
    flows: dict[int, Flow]
    flow_count: int = 0  # flows that were made, also those that are no longer in `flows`

    @property
    def gone(self) -> Tally:
        """The packets of namespaces that are gone."""
        raise NotImplementedError

    @property
    def name_files(self) -> lookup.NameFiles:
        """The files of /etc that clients look names up in."""
        raise NotImplementedError

    def judge(self, made: Flow) -> None:
        """Called when a flow has ended."""

    def resolve(self, ref: str, protocol: str = "TCP") -> Target:
        """The target of a reference (the first, where a glob matches several). Raises InputError."""
        return target.targets(self, ref, protocol)[0]

    def together(self, starts: Sequence[programs.Start] | Iterator[programs.Start]) -> None:
        """Call functions that begin flows, each at its time (ns of the clock): the flows overlap. An iterator has them in the order of time.
        Raises what one of them raised."""
        programs.together(self.clock, starts)

    def tcp(
        self,
        source: str,
        to: str | Target,
        send: bytes = b"",
        *,
        port: int = 0,
        close: bool = True,
        blocking: bool = False,
        timeout_s: float = 10,
        name: str = "",
    ) -> Flow:
        """Connect from `source` to `to`, send, read the answer, close. `port` fixes the client's port.
        Without `close` the connection stays open; `more` uses it again. A `blocking` client waits inside connect(): it tries
        once more after an ICMP error that comes at once."""
        send, port = given.data(send), given.port(port)
        talk = partial(streams.tcp, send=send, port=port, close=close, blocking=blocking)
        given.seconds(timeout_s, "timeout_s")
        made = self._ported(self._flow("tcp", source, to, "TCP", name))
        return self._run(made, self._named(talk), timeout_s)

    def more(
        self, before: Flow, send: bytes = b"", *, close: bool = True, timeout_s: float = 10, name: str = ""
    ) -> Flow:
        """A flow over the connection that an earlier flow left open. Raises InputError when it left none."""
        if before.testbed is not self:
            what = f"{before.name!r} is a flow of another cluster"
            raise InputError(what, expected=f"flows[{before.number}] of this one")
        if before.socket is None:
            raise InputError(f"{before.name!r} left no connection open", expected="a tcp flow that does not close")
        send = given.data(send)
        given.seconds(timeout_s, "timeout_s")
        self.flow_count += 1
        made = Flow(self, self.flow_count, "tcp", name or before.name, before.source, before.target, before.client)
        made.before, self.flows[made.number] = before, made
        return self._run(made, partial(streams.more, send=send, close=close), timeout_s)

    def udp(
        self,
        source: str,
        to: str | Target,
        send: bytes = b"ping",
        *,
        port: int = 0,
        connected: bool = True,
        reply: bool = True,
        timeout_s: float = 5,
        name: str = "",
    ) -> Flow:
        """One datagram and its answer; `reply` False expects none."""
        send, port = given.data(send), given.port(port)
        given.seconds(timeout_s, "timeout_s")
        made = self._ported(self._flow("udp", source, to, "UDP", name))
        talk = partial(datagrams.udp, send=send, port=port, connected=connected, reply=reply)
        return self._run(made, self._named(talk), timeout_s, answered=reply)

    def ping(
        self,
        source: str,
        to: str | Target,
        count: int = 1,
        *,
        interval_s: float = 1,
        size: int = 56,
        ttl: int = 0,
        timeout_s: float = 5,
        name: str = "",
    ) -> Flow:
        """`count` echo requests, one each `interval_s`, each with `size` bytes of data. `ttl` 0 is the namespace's own."""
        given.whole(count, "count", 1)
        given.whole(size, "size", 0, pings.LONGEST)
        given.whole(ttl, "ttl", 0, 255)
        given.seconds(interval_s, "interval_s")
        given.seconds(timeout_s, "timeout_s")
        where = to if isinstance(to, Target) else target.without_port(self, given.end(to))
        made = self._flow("ping", source, where, "ICMP", name)
        talk = partial(pings.ping, count=count, interval_ns=int(interval_s * SECOND), size=size, ttl=ttl)
        return self._run(made, self._named(talk), timeout_s)

    def send(
        self,
        source: str,
        packet: Packet | str | bytes,
        *,
        device: str | None = None,
        timeout_s: float = 5,
        name: str = "",
    ) -> Flow:
        """Send any Scapy packet (or an expression as text, or bytes of a frame) from a namespace."""
        given.seconds(timeout_s, "timeout_s")
        if isinstance(packet, str):
            packet = craft.expression(packet)
        dst = None if isinstance(packet, bytes) else craft.destination(packet)
        where = Target(ip4(dst) if dst else 0, 0, dst or "the link")
        made = self._flow("send", source, where, "", name)
        return self._run(made, partial(packets.packet, what=packet, device=device), timeout_s, answered=False)

    def resolve_name(self, source: str, name: str, *kinds: str) -> Flow:
        """Look a name up from `source`, for A and AAAA or the given types; the result is the flow's `resolved`."""
        made = self._flow("lookup", source, Target(0, 0, name, name), "", "")
        return self._run(made, partial(lookup.lookup, files=self.name_files, name=name, kinds=kinds), 0)

    # -- how --------------------------------------------------------------------------------------

    def _flow(self, kind: str, source: str, to: str | Target, protocol: str, name: str) -> Flow:
        where = to if isinstance(to, Target) else self.resolve(given.end(to), protocol)
        display = target.sources(self, given.end(source))[0]
        number = self.flow_count + 1
        client = self.pods[display].net if display in self.pods else self.namespaces[display]
        made = Flow(self, number, kind, name or f"{kind} {display} -> {where.name}", display, where, client)
        self.flows[number], self.flow_count = made, number
        return made

    def _ported(self, made: Flow) -> Flow:
        if not made.target.port:
            del self.flows[made.number]
            self.flow_count -= 1
            raise InputError(f"{made.target.name!r} needs a port", expected=f"{made.target.name}:80")
        return made

    def _named(self, talk: Talk) -> Talk:
        return partial(lookup.named, files=self.name_files, talk=talk)

    def _run(self, made: Flow, talk: Talk, timeout_s: float, *, answered: bool = True) -> Flow:
        """Run a flow. `answered`: its client's socket can see the outcome."""
        made.started_ns = self.clock.now
        talk(made, timeout_ns=int(timeout_s * SECOND))
        made.ended_ns = self.clock.now
        self.judge(made)
        if self.capture is not None:
            self.capture.spill()
        return made
