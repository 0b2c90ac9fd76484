"""`python -m emu`: the command line. Must not know any command."""

from __future__ import annotations

import sys

from emu.cli import main

if __name__ == "__main__":
    sys.exit(main())
