"""Record what the machine's own CNI plugins do with the cases of some tables: `python tests/support/cni_record.py FILE`,
with PYTHONPATH=.:tests/support.

It is for a kernel that has every kind of device.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from cni_pairs import kernel_alone
from cni_recorded import CASES


def main(path: str) -> None:
    """What is recorded already stays, if the case is still there."""
    file = Path(path)
    old = json.loads(file.read_text())["cases"] if file.exists() else {}
    found = {name: old[name] if name in old else kernel_alone(steps) for name, steps in CASES.items()}
    file.write_text(json.dumps({"kernel": platform.release(), "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
