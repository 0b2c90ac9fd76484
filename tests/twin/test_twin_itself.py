"""Where the kernel's own runs differ, the report states it; what each run draws anew is no difference."""

from __future__ import annotations

import pytest

from emu.twin.compare import Difference
from emu.twin.itself import runs
from emu.twin.report import FlowReport, Report

ALIKE = "the kernel's two runs are alike where the emulator differs"
SENT = "out [a>b] 10.0.0.1>10.0.0.2 TCP {}>80 [A] seq={} len=100"


def ran(*lines: str, where: str = "a/eth0") -> Report:
    difference = Difference("frames", where, 0, lines, ("something else",))
    return Report("story", "6.18", [FlowReport("tcp a -> b", differences=[difference])])


def test_other_ports_are_no_difference() -> None:
    assert runs(
        ran(SENT.format(40000, 1), SENT.format(40000, 101)), ran(SENT.format(51234, 1), SENT.format(51234, 101))
    ) == [ALIKE]


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        (
            (SENT.format(51234, 1), SENT.format(51234, 201)),
            "seq=101 len=100 | then out [a>b] 10.0.0.1>10.0.0.2 TCP #1>80 [A] seq=201",
        ),
        ((SENT.format(51234, 1),), "| then (nothing more)"),
        ((SENT.format(51234, 1), SENT.format(51235, 101)), "TCP #2>80"),
    ],
)
def test_the_first_line_that_differs_is_shown(second: tuple[str, ...], shown: str) -> None:
    (line,) = runs(ran(SENT.format(40000, 1), SENT.format(40000, 101)), ran(*second))
    assert line.startswith("the kernel differs from itself: tcp a -> b: frames at a/eth0: first ") and shown in line


def test_a_place_that_differed_once_is_not_compared() -> None:
    assert runs(ran(SENT.format(40000, 1)), ran(SENT.format(40000, 9), where="b/eth0")) == []
