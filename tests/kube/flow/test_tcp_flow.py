"""TCP flows against apps that are no echo: how much of an answer is read, and when it is taken as whole."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from emu.apps import Host, Running, apps
from emu.apps.serve import Connection, TcpServer
from emu.clock import MS, SECOND
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.kube.flow.tcp import QUIET_NS

LARGE = b"HTTP/1.0 200 OK\r\n\r\n" + b"z" * 60000
PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {emu/app: "APP@80"}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}
"""


class Answer:
    """Answers each piece that it receives with one text, and perhaps closes."""

    def __init__(self, data: bytes, *, close: bool) -> None:
        self.data, self.close = data, close

    def received(self, data: bytes, connection: Connection) -> None:
        connection.send(self.data)
        if self.close:
            connection.close()

    def ended(self, connection: Connection) -> None:
        connection.close()


ANSWERS = {"large": (LARGE, True), "open": (LARGE, False), "short": (b"no", False), "shout": (b"GET IT", False)}


@pytest.fixture(autouse=True, scope="module")
def answering() -> None:
    """An app for each answer."""
    registered()


@cache
def registered() -> None:
    """Once a process: the module's tests may not come in one go."""

    def add(name: str, data: bytes, close: bool) -> None:
        @apps.add(name)
        def answer(net: Host, port: int, protocol: str, name: str) -> Running:
            return TcpServer(net, port, lambda: Answer(data, close=close))

    for name, (data, close) in ANSWERS.items():
        add(f"test-{name}", data, close)


def cluster(app: str, delay_ms: float = 0) -> Cluster:
    made = Cluster(2, load_text(PODS.replace("APP", app)).objects)
    if delay_ms:
        made.link("node-2", delay_ms=delay_ms)
    return made


def flags(flow: Any) -> list[str]:
    return [str(packet["TCP"].flags) for packet in flow.packets if packet.haslayer("TCP")]


@pytest.mark.parametrize("delay_ms", [0, 5, 120])
@pytest.mark.parametrize("app", ["test-large", "test-open"])
def test_a_long_answer_is_read_to_its_end(app: str, delay_ms: float) -> None:
    flow = cluster(app, delay_ms).tcp("default/client", "default/web:80", b"GET / HTTP/1.0\r\n\r\n")
    assert flow.delivered and flow.received == LARGE
    assert not any("R" in each for each in flags(flow))


def test_an_answer_with_losses_is_read_to_its_end() -> None:
    made = cluster("test-open")
    made.link("node-2", lose=(8, 20, 43))  # the last one is sent again when its timer ends
    flow = made.tcp("default/client", "default/web:80", b"GET / HTTP/1.0\r\n\r\n")
    assert flow.received == LARGE


def test_an_echo_is_whole_when_it_is_as_long_as_what_was_sent() -> None:
    flow = cluster("echo").tcp("default/client", "default/web:80", b"GET HIM")
    assert flow.received == b"GET HIM"
    assert flow.ended_ns - flow.started_ns < 10 * MS


@pytest.mark.parametrize(("app", "received"), [("test-short", b"no"), ("test-shout", b"GET IT")])
def test_another_answer_is_whole_when_its_sender_is_quiet(app: str, received: bytes) -> None:
    flow = cluster(app).tcp("default/client", "default/web:80", b"GET HIM", timeout_s=10)
    assert flow.delivered and flow.received == received
    assert QUIET_NS < flow.ended_ns - flow.started_ns < 2 * SECOND


def test_a_client_waits_no_longer_than_it_was_asked_to() -> None:
    flow = cluster("test-short").tcp("default/client", "default/web:80", b"GET HIM", timeout_s=0.5)
    assert flow.received == b"no" and flow.ended_ns - flow.started_ns < SECOND


def test_both_ends_of_an_open_connection_belong_to_the_flow_that_goes_on() -> None:
    made = cluster("echo")
    first = made.tcp("default/client", "default/web:80", b"one", close=False)
    second = made.more(first, b"", close=False)
    third = made.more(second, b"three")
    assert third.received == b"three"
    assert {frame.flow for frame in made.capture.frames() if b"three" in frame.data} == {3}  # type: ignore[union-attr]  # it captures
    assert "FA" in flags(third) and "FA" not in flags(first)
