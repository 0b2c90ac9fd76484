"""The app `script`: it answers with given bytes, by TCP and UDP, in turns and with pauses."""

from __future__ import annotations

import pytest

from emu.apps import start
from emu.apps.script import CLIENT, SERVER, Half, Line, ScriptApp, Turn, turns_of
from emu.clock import MS, Clock
from emu.errors import InputError
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.lab import Lab

TALK = [
    Line(SERVER, b"220 mail\r\n"),
    Line(CLIENT, b"HELO\r\n"),
    Line(SERVER, b"250 hello\r\n", 20 * MS),
    Line(CLIENT, b"QUIT\r\n"),
    Line(SERVER, b"221 bye\r\n"),
]


class Peer:
    """An end that keeps what a half sends."""

    def __init__(self) -> None:
        self.closed = False
        self.sent: list[bytes | str] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def shutdown(self) -> None:
        self.sent.append("shutdown")

    def reset(self) -> None:
        self.sent.append("reset")

    def close(self) -> None:
        self.sent.append("close")
        self.closed = True


def test_a_half_waits_for_what_it_needs_and_for_its_pauses() -> None:
    clock, peer = Clock(), Peer()
    half = Half(clock, turns_of(TALK, SERVER))
    half.opened(peer)
    assert peer.sent == [b"220 mail\r\n"]
    half.received(b"HEL", peer)
    clock.run_until(50 * MS)
    assert peer.sent[1:] == []
    half.received(b"O\r\n", peer)
    clock.run_until(69 * MS)
    assert peer.sent[1:] == []
    clock.run_until(70 * MS)
    assert peer.sent[1:] == [b"250 hello\r\n"]
    half.received(b"QUIT\r\n", peer)
    half.ended(peer)
    assert peer.sent[2:] == [b"221 bye\r\n", "close"]


@pytest.mark.parametrize(
    ("turns", "eof", "sent"),
    [
        ([Turn(0, ends="FIN")], False, ["shutdown"]),
        ([Turn(0, ends="FIN")], True, ["shutdown", "close"]),
        ([Turn(0, b"x", ends="FIN", eof=True)], True, [b"x", "close"]),
        ([Turn(0, b"x", eof=True)], False, []),
        ([Turn(0, ends="RST")], False, ["reset"]),
    ],
)
def test_how_a_half_ends(turns: list[Turn], eof: bool, sent: list[object]) -> None:
    peer, half = Peer(), Half(Clock(), turns, endless=True)
    half.opened(peer)
    if eof:
        half.ended(peer)
    assert peer.sent == sent


def test_by_udp_each_peer_has_the_whole_talk() -> None:
    lab = Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    app = start("script", server, 53, "UDP")
    assert isinstance(app, ScriptApp)
    app.play([Line(CLIENT, b"a"), Line(SERVER, b"one"), Line(CLIENT, b"b"), Line(SERVER, b"two")])
    for _ in range(2):
        sock = client.sockets.udp()
        for ask, answer in ((b"?", b"one"), (b"??", b"two")):
            sock.sendto(ask, ("10.0.0.2", 53))
            lab.run(0.01)
            assert sock.recv() == answer
        sock.close()
    app.stop()


POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: mail
  annotations:
    emu/app: script@25
    emu/script: |
SCRIPT
spec: {containers: [{name: a}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {containers: [{name: a}]}}
"""


def pod(script: str) -> Cluster:
    text = "\n".join(f"      {line}" for line in script.splitlines())
    return Cluster(2, load_text(POD.replace("SCRIPT", text)).objects)


def test_a_pods_annotation_has_the_talk() -> None:
    where = pod('- server: "220 mail\\r\\n"\n- client: "HELO\\r\\n"\n- {server: {hex: "00 ff"}, after: 20ms}')
    flow = where.tcp("default/client", "default/mail:25", b"HELO\r\n")
    assert (flow.outcome.word, flow.received) == ("delivered", b"220 mail\r\n\x00\xff")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("- other: x", "unknown field `other`"),
        ("- {client: a, server: b}", "a line belongs to one side"),
        ("- {server: a, after: soon}", "cannot read after: 'soon'"),
        ("- {server: {hex: xyz}}", "no text of hexadecimal digits"),
        ("server: a", "Expected `array`"),
    ],
)
def test_a_script_that_cannot_be_read_is_one_error(script: str, words: str) -> None:
    with pytest.raises(InputError) as wrong:
        pod(script)
    assert words in str(wrong.value) and "pod default/mail annotation emu/script" in str(wrong.value)
