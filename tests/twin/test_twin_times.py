"""Times: what may differ by how much, and faults of a timer or of a change that the twin finds."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from emu.clock import MS, SECOND
from emu.kernel.transport import tcp_output
from emu.kernel.transport.tcp_ipv4 import Tcp
from emu.kube.proxy.cleanup import CleanUp
from emu.scenario.script import load_text
from emu.twin import Difference, judge
from emu.twin.compare import Sight
from emu.twin.loop import Loop
from emu.twin.times import differences, judged, tolerance
from twin_changes import ENDPOINT, NEAR, SLOW, S, chat, hi, text
from twin_rows import ping, udp
from twins import needs_twin


def seen(*times_ms: float, talk: object = "a") -> list[Sight]:
    return [Sight("node-1", "node-1/eth0", "out", "frame", int(time_ms * MS), talk) for time_ms in times_ms]


@pytest.mark.parametrize(
    ("gap_ns", "late_ns", "allowed_ns"),
    [
        (40 * MS, 0, 12 * MS),
        (252 * MS, 0, 12 * MS),
        (253 * MS, 0, 40 * MS),
        (SECOND, 5 * MS, 45 * MS),
        (3 * SECOND, 0, 264 * MS),
        (30 * SECOND, 0, 2056 * MS),
    ],
)
def test_a_gap_may_differ_by_its_slot_a_tick_the_slack_and_the_machines_lateness(
    gap_ns: int, late_ns: int, allowed_ns: int
) -> None:
    assert tolerance(gap_ns, late_ns) == allowed_ns


@pytest.mark.parametrize(
    ("kernel", "emu", "different"),
    [
        ((0, 40), (0, 40), False),
        ((0, 52), (0, 40), False),
        ((0, 53), (0, 40), True),
        ((0, 27), (0, 40), True),
        ((0, 1036), (0, 1000), False),
        ((0, 1041), (0, 1000), True),
        ((500, 501), (0, 1), False),
        ((0, 1.9), (0, 0), False),
        # a program acts after 3300 ms, whenever the timer before it fired within its slot
        ((0, 3000, 3300), (0, 3200, 3300), False),
        ((0, 3300, 3600), (0, 3300, 3700), True),
    ],
)
def test_gaps_are_compared_and_not_times(kernel: tuple[float, ...], emu: tuple[float, ...], different: bool) -> None:
    found = differences(seen(*kernel), seen(*emu), 0, SECOND * 9)
    assert bool(found) is different
    assert all(each.what == "times" and each.at == len(emu) - 1 for each in found)


def test_a_gap_is_between_frames_of_one_conversation() -> None:
    kernel = [*seen(0), *seen(500, talk="b"), *seen(1000)]
    emu = [*seen(0), *seen(900, talk="b"), *seen(1000)]
    assert differences(kernel, emu, 0, SECOND * 9) == []
    assert judged(emu, SECOND * 9) == 1


def test_what_comes_after_the_flow_is_not_judged() -> None:
    assert differences(seen(0, 500), seen(0, 100), 0, 99 * MS) == []


# -- planted ------------------------------------------------------------------------------------


# some of these are answered by the pod that goes
STALE = text("".join(udp("svc/s:80", port=7770 + n) for n in range(12)) + "- delete: pod/e\n", ENDPOINT + NEAR + S)


def found(scenario: str) -> list[Difference]:
    for _ in range(3):  # the times of a busy machine are not judged
        report = judge(load_text(scenario), tries=1)
        if report.exit_status == 1:
            break
    assert report.exit_status == 1, report.text()
    return [difference for _flow, difference in report.differences]


@pytest.mark.twin
class TestPlanted:
    pytestmark = needs_twin

    def test_a_delayed_acknowledgement_after_60_ms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The FIN of a server that ends is acknowledged while the flow runs."""
        real = tcp_output.send_delayed_ack

        def late(tp: Any, now_ns: int) -> None:
            real(tp, now_ns)
            if tp.delack_at is not None:
                tp.delack_at += 20 * MS

        for name, module in list(sys.modules.items()):
            if name.startswith("emu.kernel.transport.") and getattr(module, "send_delayed_ack", None) is real:
                monkeypatch.setattr(module, "send_delayed_ack", late)
        steps = chat("default/e:7") + "- delete: pod/e\n  settle: false\n- wait: 4s\n" + ping("node/node-2")
        first = found(text(steps, SLOW))[0]
        assert first.what == "times"

    def test_the_first_syn_is_repeated_after_900_ms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Tcp.config
        monkeypatch.setattr(Tcp, "config", lambda self: replace(real(self), timeout_init_ns=900 * MS))
        steps = hi("default/e:7") + "- link: {node: node-1, lose: [0]}\n" + hi("default/e:7")
        first = found(text(steps))[0]
        assert first.what == "times"

    def test_stale_connections_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(CleanUp, "stale", lambda *_: [])
        assert any(each.what == "conntrack" for each in found(STALE))

    def test_a_server_that_ends_without_a_fin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from emu.kube.node.kubelet import Kubelet

        def silent(sandbox: object) -> None:
            setattr(sandbox, "ended", True)  # noqa: B010  # the containers' processes end, and their sockets stay

        monkeypatch.setattr(Kubelet, "_end", staticmethod(silent))
        first = found(text(chat("svc/s:80") + "- delete: pod/e\n"))[0]
        assert first.what == "frames"
        assert "[FA]" in first.pair[0]


class Shown:
    """`/proc/timer_list` as it reads at each look."""

    def __init__(self, *texts: str) -> None:
        self.texts = [*texts]

    def read_text(self) -> str:
        return self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]


def test_a_look_while_a_tick_is_counted_is_no_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = "Timer List Version: v0.9\nnow at 1000000000 nsecs\njiffies: 4294900000\n"
    whole = begun + " #0: <x>, tick_nohz_handler, S:01\n # expires at 1003000000-1003000000 nsecs\n"
    loop = Loop(lambda: None)
    monkeypatch.setattr("emu.twin.loop.TIMERS", Shown(whole))
    phase = loop.phase()
    monkeypatch.setattr("emu.twin.loop.TIMERS", Shown(begun, whole))
    assert loop.phase() == phase
    monkeypatch.setattr("emu.twin.loop.TIMERS", Shown(begun))
    assert loop.phase() == 0
    loop.close()
