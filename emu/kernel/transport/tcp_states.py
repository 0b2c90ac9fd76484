"""The TCP state machine as one table: read it beside RFC 9293 figure 5.

States have Linux's names (as `ss` prints them, without the TCP_ prefix); a pair that is not in the table does
not change the state. Must not know segments, timers or buffers: the events are named here, and seen elsewhere.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal[
    "CLOSE",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
]

Event: TypeAlias = Literal[
    "active open",  # connect(): a SYN goes out
    "passive open",  # listen()
    "rcv SYN",  # a SYN, and a SYN-ACK goes out
    "rcv SYN,ACK",  # our SYN is acknowledged by a SYN, and an ACK goes out
    "rcv ACK of SYN",
    "close",  # close() or shutdown(SHUT_WR): a FIN goes out
    "rcv FIN",
    "rcv ACK of FIN",
    "rcv FIN,ACK of FIN",  # both in one segment
    "rcv RST",
    "abort",  # we send a RST, or forget the connection
    "timeout",  # 2 MSL in TIME_WAIT, tcp_fin_timeout in FIN_WAIT2, retries used up elsewhere
]

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    ("CLOSE", "active open"): "SYN_SENT",
    ("CLOSE", "passive open"): "LISTEN",
    ("LISTEN", "rcv SYN"): "SYN_RECV",
    ("LISTEN", "close"): "CLOSE",
    ("SYN_SENT", "rcv SYN,ACK"): "ESTABLISHED",
    ("SYN_SENT", "rcv SYN"): "SYN_RECV",  # simultaneous open
    ("SYN_SENT", "close"): "CLOSE",
    ("SYN_RECV", "rcv ACK of SYN"): "ESTABLISHED",
    ("SYN_RECV", "close"): "FIN_WAIT1",
    ("ESTABLISHED", "close"): "FIN_WAIT1",
    ("ESTABLISHED", "rcv FIN"): "CLOSE_WAIT",
    ("FIN_WAIT1", "rcv ACK of FIN"): "FIN_WAIT2",
    ("FIN_WAIT1", "rcv FIN"): "CLOSING",  # simultaneous close
    ("FIN_WAIT1", "rcv FIN,ACK of FIN"): "TIME_WAIT",
    ("FIN_WAIT2", "rcv FIN"): "TIME_WAIT",
    ("CLOSE_WAIT", "close"): "LAST_ACK",
    ("CLOSING", "rcv ACK of FIN"): "TIME_WAIT",
    ("LAST_ACK", "rcv ACK of FIN"): "CLOSE",
    ("TIME_WAIT", "timeout"): "CLOSE",
    # From anywhere: a reset, an abort, or the last timeout.
    ("SYN_SENT", "rcv RST"): "CLOSE",
    ("SYN_RECV", "rcv RST"): "CLOSE",
    ("ESTABLISHED", "rcv RST"): "CLOSE",
    ("FIN_WAIT1", "rcv RST"): "CLOSE",
    ("FIN_WAIT2", "rcv RST"): "CLOSE",
    ("CLOSE_WAIT", "rcv RST"): "CLOSE",
    ("CLOSING", "rcv RST"): "CLOSE",
    ("LAST_ACK", "rcv RST"): "CLOSE",
    ("TIME_WAIT", "rcv RST"): "CLOSE",  # tcp_rfc1337 = 0
    ("SYN_SENT", "abort"): "CLOSE",
    ("SYN_RECV", "abort"): "CLOSE",
    ("ESTABLISHED", "abort"): "CLOSE",
    ("FIN_WAIT1", "abort"): "CLOSE",
    ("FIN_WAIT2", "abort"): "CLOSE",
    ("CLOSE_WAIT", "abort"): "CLOSE",
    ("CLOSING", "abort"): "CLOSE",
    ("LAST_ACK", "abort"): "CLOSE",
    ("TIME_WAIT", "abort"): "CLOSE",
    ("SYN_SENT", "timeout"): "CLOSE",
    ("SYN_RECV", "timeout"): "CLOSE",
    ("ESTABLISHED", "timeout"): "CLOSE",
    ("FIN_WAIT1", "timeout"): "CLOSE",
    ("FIN_WAIT2", "timeout"): "CLOSE",
    ("CLOSE_WAIT", "timeout"): "CLOSE",
    ("CLOSING", "timeout"): "CLOSE",
    ("LAST_ACK", "timeout"): "CLOSE",
}

# The states that take data from the application.
MAY_SEND: Final = frozenset({"ESTABLISHED", "CLOSE_WAIT"})


def next_state(state: State, event: Event) -> State:
    """The state after `event`; the same one where the table has no line."""
    return TRANSITIONS.get((state, event), state)
