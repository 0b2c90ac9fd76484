"""What connection tracking remembers of an SCTP association (struct ip_ct_sctp).

Must not know chunks or how the state moves.
"""

from __future__ import annotations

# enum sctp_conntrack; IV is no state: the packet is refused
NO, CL, CW, CE, ES, SS, SR, SA, HS, IV = range(10)
NAMES = (
    "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
)  # fmt: skip
HEARTBEAT_FAILED = 1  # SCTP_FLAG_HEARTBEAT_VTAG_FAILED: the last HEARTBEAT had another tag than the known one


class SctpState:
    """`tags` is what packets of each direction must have, 0 if it is not known; `init`: an INIT went this way.

    `last_dir` is the direction of the HEARTBEAT with a wrong tag.
    """

    __slots__ = ("flags", "init", "last_dir", "state", "tags")

    def __init__(self) -> None:
        self.state = NO
        self.tags = [0, 0]
        self.init = [False, False]
        self.flags = self.last_dir = 0

    @property
    def name(self) -> str:
        return NAMES[self.state]
