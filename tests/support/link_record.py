"""Record what this machine's kernel does with the cases of `link_cases`: `python tests/support/link_record.py FILE`,
with PYTHONPATH=.:tests/support.

It is for a kernel that has every kind of device. Cases that it cannot make are left out, and named.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from link_cases import CASES
from link_pair import TwinError, kernel


def main(path: str) -> None:
    """What is recorded already stays, if the case is still there."""
    file = Path(path)
    old = json.loads(file.read_text())["cases"] if file.exists() else {}
    found = {name: old[name] for name in CASES if name in old}
    for name, case in CASES.items():
        if name in found:
            continue
        try:
            found[name] = kernel(case)
        except TwinError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    file.write_text(json.dumps({"kernel": platform.release(), "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
