"""The recorded answers to odd frames are what this machine's kernel does."""

from __future__ import annotations

import pytest

from odd_frame_cases import SETUPS
from odd_frames import QUIET_S, kernel, read
from twins import AGAIN, JUDGED, needs_twin

pytestmark = needs_twin
LONGER = 5


@pytest.mark.parametrize("setup", SETUPS)
def test_recorded_answers(setup: str) -> None:
    recorded = [each for each in read() if each.case.setup == setup]
    cases, wanted = [each.case for each in recorded], [each.sent for each in recorded]
    # on a busy machine an answer may come late: what differs is asked again, with more patience
    for quiet_s in (QUIET_S, LONGER * QUIET_S):
        answers = list(kernel(SETUPS[setup], cases, quiet_s))
        different = {
            case.label: (sent, known) for case, sent, known in zip(cases, answers, wanted, strict=True) if sent != known
        }
        if not different:
            break
        if quiet_s == QUIET_S:
            AGAIN.extend(f"{label}: kernel: {sent} | recorded: {known}" for label, (sent, known) in different.items())
    assert not different
    JUDGED["odd frames"] += len(cases)
