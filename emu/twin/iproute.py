"""One running `ip -batch` in a namespace, in place of a process for each thing that is read or changed there.

`ip` keeps the names of devices that it has seen: before each batch it lists all devices, so that it knows no old name. A
command may print nothing: what is behind it prints a line that no other command prints. Must not know what is read or changed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

DEVICES = "link show"
END, END_BEGINS = "ntable show name arp_cache dev lo", b'[{"family":"inet","name":"arp_cache","dev":"lo"'
FAILED = "Command failed "  # on stderr, behind a command's own message
CHUNK = 100  # commands at a time: they, and their messages, fit into pipes


class IpEnded(Exception):
    """`ip` has ended by itself, with this message: some commands that fail end it. `done` commands before that one had come to
    their end."""

    def __init__(self, message: str, done: int = 0) -> None:
        super().__init__(f"ip has ended: {message}")
        self.done = done


class Ip:
    """It begins in the namespace that this thread is in, and ends with `close`, or with this process. Raises IpEnded."""

    def __init__(self, options: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            ["ip", "-force", "-json", *options, "-batch", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._in, self._out, self._err = self._process.stdin, self._process.stdout, self._process.stderr
        os.set_blocking(self._err.fileno(), False)

    def show(self, commands: Sequence[str]) -> tuple[list[list[dict[str, Any]]], str]:
        """What each of these commands shows, and the messages of those that failed."""
        self._send([line for each in (DEVICES, *commands) for line in (each, END)])
        _devices, *found = ([*self._answer()] for _ in (DEVICES, *commands))
        return [json.loads(lines[0]) if lines else [] for lines in found], self._failures()

    def change(self, commands: Sequence[str], *, apart: bool = False) -> str:
        """Run commands that print nothing, in order, the next one also after one that fails; gives the messages of those. `apart`:
        wait for each, to know which one ended `ip`."""
        size = 1 if apart else CHUNK
        self._send([DEVICES, END])
        failures, done = "", -1
        try:
            for _ in self._answer():
                pass
            for done in range(0, len(commands), size):
                self._send([*commands[done : done + size], END])
                for _ in self._answer():
                    pass
                failures += self._failures()
        except IpEnded as ended:
            ended.done = max(done, 0)
            raise
        return failures

    def _send(self, lines: Sequence[str]) -> None:
        try:
            self._in.write("".join(f"{each}\n" for each in lines).encode())
            self._in.flush()
        except BrokenPipeError:
            raise IpEnded(self._messages()) from None

    def _answer(self) -> Iterator[bytes]:
        """What is printed until the end of a command."""
        while not (line := self._out.readline()).startswith(END_BEGINS):
            if not line:
                raise IpEnded(self._messages())
            yield line

    def _failures(self) -> str:
        messages = self._messages()
        return messages if FAILED in messages else ""

    def _messages(self) -> str:
        return (self._err.read() or b"").decode(errors="replace")

    def close(self) -> None:
        for pipe in (self._out, self._err, self._in):
            pipe.close()
        self._process.wait()
