"""Why a packet does not arrive: the flow is run, and its outcome is joined with the objects that decide it.

`ask` runs the flows, `causes` is the closed list of what may be named, `answer` writes the result. Must not know commands.
"""

from __future__ import annotations
