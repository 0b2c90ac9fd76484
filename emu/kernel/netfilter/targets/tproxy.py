"""TPROXY: hand the packet to a transparent socket of this host, whatever its destination (xt_TPROXY.c).

Without a socket at the proxy's address the packet is dropped. No socket here is transparent, as the program of a real proxy
makes it; where another socket is there, or the node is read from its dumps, the packet is undecided. Must not bind sockets.
"""

from __future__ import annotations

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import Drop, HookState
from emu.kernel.netfilter.matches import from_dumps, value_mask
from emu.kernel.netfilter.matches.ip import inet_aton
from emu.kernel.netfilter.matches.ports import port
from emu.kernel.netfilter.targets import Options, Outcome, Target, Where, targets
from emu.wire.addr import ip4_text
from emu.wire.frame import TCP, UDP, Frame


@targets.add("TPROXY")
class Tproxy(Target):
    """`port` 0 is the packet's own, `addr` 0 the first address of the device that it came by."""

    __slots__ = ("addr", "mark", "mask", "port")
    options = {"--on-port": 1, "--on-ip": 1, "--tproxy-mark": 1}
    tables = ("mangle",)
    chains = ("PREROUTING",)
    undecided = "the sockets of the node are not known"

    def __init__(self, port: int, addr: int, mark: int, mask: int) -> None:
        self.port, self.addr, self.mark, self.mask = port, addr, mark, mask

    @classmethod
    def build(cls, given: Options, where: Where) -> Tproxy:
        if where.proto not in (TCP, UDP) or where.proto_negated:
            raise InputError("TPROXY needs the protocol", expected="-p tcp or -p udp")
        if "--on-port" not in given:
            raise InputError("TPROXY has no port", expected="--on-port PORT")
        addr = inet_aton(given["--on-ip"].words[0]) if "--on-ip" in given else 0
        mark = value_mask(given["--tproxy-mark"].words[0], "mark") if "--tproxy-mark" in given else (0, 0)
        return cls(port(given["--on-port"].words[0]), addr, *mark)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if from_dumps(state):
            raise Undecided(f"-j TPROXY: {self.undecided}")
        family, key = state.family, (frame.src, frame.sport)
        found = family.find_socket(frame.proto, frame.dst, frame.dport, *key)
        if found is None or found.remote is None:
            addr = self.addr or family.select_addr(frame.indev, 0) or frame.dst
            found = family.find_socket(frame.proto, addr, self.port or frame.dport, *key)
        if found is None:
            return Drop("NETFILTER_DROP")
        raise Undecided("-j TPROXY: whether the socket at the proxy's address is transparent is not modelled")

    def spec(self) -> str:
        return (
            f"-j TPROXY --on-port {self.port} --on-ip {ip4_text(self.addr)} --tproxy-mark {self.mark:#x}/{self.mask:#x}"
        )
