"""`seen`: single frames of the whole run, of whatever flow or of none, with their places and times. Must not know how frames travel."""

from __future__ import annotations

from functools import partial

from emu.errors import InputError
from emu.scenario.flows import SECOND_NS
from emu.scenario.kinds import SeenPart
from emu.scenario.seen import END, START, Search, check_list
from emu.scenario.steps import Action, Doing, Place, actions
from emu.scenario.steps.wait import Waits

Seen = tuple[SeenPart, ...]


@actions.add("seen")
class SeenAction(Action[Seen, Waits]):
    """The moment `start` is virtual time 0, `end` the start of this step."""

    shape = Seen
    order = 95
    example = """\
- name: hello
  ping: {from: default/client, to: default/web-0}
- seen: [{at: default/web-0/eth0, way: in, after: hello, within: 10ms, frame: {icmp: {type: 8}}}]"""

    def expects(self, part: Seen) -> bool:
        return True

    def check(self, part: Seen, place: Place) -> None:
        if not part:
            raise InputError("no frames are listed", expected="entries with frame or noFrame")
        check_list(part, place.moments)

    def run(self, part: Seen, doing: Doing[Waits]) -> None:
        capture, clock = doing.capture, doing.clock
        if capture is None:
            raise InputError("the cluster was built without captures", expected="capture=True")

        def wait(end_ns: int) -> None:
            doing.cluster.wait(max(end_ns - clock.now, 0) / SECOND_NS)

        moments = doing.moments | {START: 0, END: clock.now}
        search = Search(capture, capture.frames, moments, partial(doing.place.text, "seen"), wait)
        doing.done.checked = search.run(part)
        held = doing.done.checked.checks - len(doing.done.checked.failures)
        doing.done.change = f"{held} of {doing.done.checked.checks} expectations of frames held"
