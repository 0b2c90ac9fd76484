"""dns, also called coredns: a DNS server (RFC 1035) over UDP and TCP.

`authority` answers a question first. What it does not answer, or not completely, is forwarded to the `upstreams` in turn,
twice each with a time limit of 2 s, then SERVFAIL; without upstreams REFUSED. Addresses are shuffled in each answer, as
CoreDNS's loadbalance does. Must not know what the names stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from emu import craft
from emu.apps import Host, Running, apps, refuse_protocol
from emu.apps.serve import Connection, TcpServer, UdpServer
from emu.clock import SECOND, Timer
from emu.errors import InputError, SocketError
from emu.kernel.transport.udp import UdpSocket
from emu.wire.dns import PORT, UDP_SIZE, Answer, Message, Question, Record

TCP_SIZE = 65535
READ_TIMEOUT_NS, DEADLINE_NS, ATTEMPTS = 2 * SECOND, 5 * SECOND, 2
Authority = Callable[[Question], Answer | None]
Done = Callable[[Answer], None]


class DnsServer:
    """The server, one for each port. `authority` and `upstreams` may be set while it runs."""

    def __init__(self, net: Host, port: int, protocol: str, name: str) -> None:
        self.net = net
        self.authority: Authority = lambda question: None
        self.upstreams: tuple[str, ...] = ()
        self.random = net.clock.random(f"dns/{name}/{protocol}/{port}")
        self._asking: dict[_Upstream, None] = {}
        self._server: Any
        if protocol == "TCP":
            self._server = TcpServer(net, port, lambda: _Stream(self))
        else:
            self._server = _Datagrams(net, port, self)

    def stop(self) -> None:
        for asked in list(self._asking):
            asked.close()
        self._server.stop()

    def serve(self, data: bytes, flow: int, limit: int, send: Callable[[bytes], None]) -> None:
        """Answer one query by `send`, now or when upstreams have answered. Bytes that are no query are ignored."""
        try:
            query = craft.dns_parse(data)
        except InputError:
            return
        if query.response or query.question is None:
            return
        self.ask(query.question, flow, lambda answer: send(craft.dns_answer(query, self._shuffled(answer), limit)))

    def ask(self, question: Question, flow: int, done: Done) -> None:
        """Call `done` with the answer to a question: our own, one that upstream completed, or upstream's."""
        answer = self.authority(question)
        if answer is not None and not answer.chase:
            done(answer)
            return
        if answer is None:
            asked, finish = question, done
        else:
            alias = answer

            def finish(rest: Answer) -> None:
                done(alias._replace(answers=(*alias.answers, *rest.answers), chase=""))

            asked = Question(answer.chase, question.kind)
        if self.upstreams:
            self._asking[_Upstream(self, asked, flow, finish)] = None
        else:
            finish(Answer("REFUSED"))

    def forget(self, asked: _Upstream) -> None:
        self._asking.pop(asked, None)

    def _shuffled(self, answer: Answer) -> Answer:
        return answer._replace(answers=self._round_robin(answer.answers), extras=self._round_robin(answer.extras))

    def _round_robin(self, records: Sequence[Record]) -> tuple[Record, ...]:
        """CNAMEs first, then the rest, then addresses in random order (plugin/loadbalance)."""
        aliases = [each for each in records if each.kind == "CNAME"]
        addresses = [each for each in records if each.kind in ("A", "AAAA")]
        rest = [each for each in records if each.kind not in ("A", "AAAA", "CNAME")]
        for index in range(len(addresses) - 1):
            other = index + self.random.randrange(len(addresses) - index)
            addresses[index], addresses[other] = addresses[other], addresses[index]
        return (*aliases, *rest, *addresses)


class _Upstream:
    """One question that is forwarded to the upstreams in turn."""

    def __init__(self, server: DnsServer, question: Question, flow: int, done: Done) -> None:
        self._server, self._question, self._flow, self._done = server, question, flow, done
        self._ends_ns = server.net.clock.now + DEADLINE_NS
        self._tried = 0
        self._ident = 0
        self._socket: UdpSocket | None = None
        self._timer: Timer | None = None
        self._try()

    def _try(self) -> None:
        server, clock = self._server, self._server.net.clock
        self.close()
        if clock.now >= self._ends_ns or self._tried >= ATTEMPTS * len(server.upstreams):
            self._finish(Answer("SERVFAIL"))
            return
        upstream = server.upstreams[self._tried % len(server.upstreams)]
        self._tried += 1
        self._ident = server.random.randrange(1 << 16)
        self._socket = socket = server.net.sockets.udp(self._flow)
        # a datagram only wakes the app: it is read later, outside the packet's walk
        socket.on_readable = lambda: self._wait(0)
        self._wait(READ_TIMEOUT_NS)
        try:
            socket.connect((upstream, PORT))
            socket.send(craft.dns_query(self._question, self._ident))
        except SocketError:
            self._wait(0)

    def _wait(self, delay_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._server.net.clock.call_later(delay_ns, self._look)

    def _look(self) -> None:
        socket = self._socket
        assert socket is not None
        while socket.inbox:
            try:
                message = craft.dns_parse(socket.recv())
            except (InputError, SocketError):
                continue
            if message.response and message.ident == self._ident:
                self._finish(_relayed(message))
                return
        self._try()

    def _finish(self, answer: Answer) -> None:
        self.close()
        self._server.forget(self)
        self._done(answer)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.on_readable = None
            self._socket.close()


def _relayed(message: Message) -> Answer:
    return Answer(
        message.rcode, message.answers, message.authorities, message.extras, authoritative=message.authoritative
    )


class _Datagrams(UdpServer):
    def __init__(self, net: Host, port: int, server: DnsServer) -> None:
        super().__init__(net, port, lambda data: None)
        self._dns = server

    def received(self, data: bytes, peer: tuple[str, int], flow: int) -> None:
        self._dns.serve(data, flow, UDP_SIZE, lambda answer: self._answer_to(answer, peer, flow))

    def _answer_to(self, answer: bytes, peer: tuple[str, int], flow: int) -> None:
        if not self.socket.closed:
            try:
                self.send(answer, peer, flow)
            except SocketError:
                return  # the client gets no answer


class _Stream:
    """The conversation over TCP: each message follows its length (RFC 1035 4.2.2)."""

    def __init__(self, server: DnsServer) -> None:
        self._dns = server
        self._data = b""

    def received(self, data: bytes, connection: Connection) -> None:
        self._data += data
        while len(self._data) >= 2:
            size = int.from_bytes(self._data[:2], "big")
            if len(self._data) < size + 2:
                return
            query, self._data = self._data[2 : size + 2], self._data[size + 2 :]
            self._dns.serve(
                query,
                connection.socket.flow,
                TCP_SIZE,
                lambda answer: connection.send(len(answer).to_bytes(2, "big") + answer),
            )

    def ended(self, connection: Connection) -> None:
        connection.close()


@apps.add("dns", "coredns")
def dns(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP and UDP."""
    if protocol not in ("TCP", "UDP"):
        raise refuse_protocol("dns", protocol, "TCP", "UDP")
    return DnsServer(net, port, protocol, name)
