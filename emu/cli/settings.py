"""What the options that every command has ask for. Must not know commands."""

from __future__ import annotations

from dataclasses import dataclass

COMPLETE = "_EMU_COMPLETE"  # the variable by which a shell asks what may follow


@dataclass
class Settings:
    """`debug`: show where an error came from; `quiet`: no notes, no progress; `verbose`: also what was read and built."""

    debug: bool = False
    quiet: bool = False
    verbose: bool = False

    def reset(self, *, debug: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        """As a command begins."""
        self.debug, self.quiet, self.verbose = debug, quiet, verbose


settings = Settings()
