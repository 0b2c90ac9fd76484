"""NFQUEUE: leave the packet to a program in user space (xt_NFQUEUE.c, nf_queue.c).

No program listens here: the packet is dropped, or with `--queue-bypass` goes on as if accepted. Whether one listens on a
node that was read from its dumps, and what it decides, is not known: there the packet is undecided. Must not hold packets.
"""

from __future__ import annotations

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import Drop, HookState
from emu.kernel.netfilter.matches import from_dumps, number
from emu.kernel.netfilter.targets import Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame

_LAST = 0xFFFF


@targets.add("NFQUEUE")
class Nfqueue(Target):
    """Queues from `first` to `last`."""

    __slots__ = ("bypass", "fanout", "first", "last")
    options = {"--queue-num": 1, "--queue-balance": 1, "--queue-bypass": 0, "--queue-cpu-fanout": 0}
    undecided = "what a program on the queue decides is not known"

    def __init__(self, first: int, last: int, bypass: bool, fanout: bool) -> None:
        self.first, self.last, self.bypass, self.fanout = first, last, bypass, fanout

    @classmethod
    def build(cls, given: Options, where: Where) -> Nfqueue:
        fanout = "--queue-cpu-fanout" in given
        if "--queue-balance" in given:
            if "--queue-num" in given:
                raise InputError("--queue-num and --queue-balance exclude each other", expected="one of them")
            first, last = _queues(given["--queue-balance"].words[0])
        else:
            first = last = number(given["--queue-num"].words[0], "queue", 0, _LAST) if "--queue-num" in given else 0
            if fanout:
                raise InputError("--queue-cpu-fanout needs several queues", expected="--queue-balance FIRST:LAST")
        return cls(first, last, "--queue-bypass" in given, fanout)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if from_dumps(state):
            raise Undecided(f"-j NFQUEUE: {self.undecided} (queue {self.first})")
        return None if self.bypass else Drop("NETFILTER_DROP")

    def spec(self) -> str:
        one = self.first == self.last
        queues = f"--queue-num {self.first}" if one else f"--queue-balance {self.first}:{self.last}"
        return f"-j NFQUEUE {queues}{' --queue-bypass' * self.bypass}{' --queue-cpu-fanout' * self.fanout}"


def _queues(text: str) -> tuple[int, int]:
    """`FIRST:LAST`, either of which may be left out. Raises InputError."""
    first, colon, last = text.partition(":")
    low = number(first or "0", "queue", 0, _LAST - 1)
    high = number(last or str(_LAST - 1), "queue", 0, _LAST - 1)
    if not colon or low >= high:
        raise InputError(f"{text!r} are not queues", expected="FIRST:LAST, the lower one first")
    return low, high
