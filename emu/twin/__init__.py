"""The twin: a scenario's cluster built on this machine's own kernel, run beside the emulator and compared.

`judge(scenario)` does it all; see `emu.twin.twin`. It needs root on Linux, and reports what is missing otherwise. Must not know views.
"""

from emu.twin.judge import judge, main
from emu.twin.report import Difference, Report

__all__ = ["Difference", "Report", "judge", "main"]
