"""Whatever small cluster and flows are drawn, the kernel and the emulator give the same frames and the same tables.

EMU_EXAMPLES=10 draws ten times as many. What fails is shrunk, printed as a scenario, and becomes a row of the table.
"""

from __future__ import annotations

from hypothesis import given, note

from emu.scenario.script import load_text
from emu.testing.scenarios import NETWORKS, SmallScenario, small_scenarios
from emu.testing.strategies import examples
from twins import agrees, needs_twin

EXAMPLES = 30  # about a minute and a half: the kernel's timeouts take real time


class TestJudged:
    pytestmark = needs_twin

    @examples(EXAMPLES)
    @given(small_scenarios(networks=NETWORKS, wide=True))
    def test_the_kernel_agrees(self, drawn: SmallScenario) -> None:
        note(drawn.text)
        agrees(drawn.text, "property")


@examples(50)
@given(small_scenarios(networks=NETWORKS, wide=True))
def test_what_is_drawn_is_a_scenario(drawn: SmallScenario) -> None:
    """And as large as was asked for."""
    scenario = load_text(drawn.text)
    assert len(scenario.objects) == len(drawn.pods) + len(drawn.services)
    assert len(scenario.spec.steps) == len(drawn.steps)
    assert all(sum(pod.group == group for pod in drawn.pods) <= 3 for group in range(len(drawn.services)))
