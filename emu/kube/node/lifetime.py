"""When a pod's containers end by themselves: what its annotations state. Must not know kubelets.

No one can know from an image how long its process runs. Without the annotation `emu/runs` it runs on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from emu.clock import SECOND
from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.wire.addr import decimal

RUNS_ANNOTATION, EXIT_ANNOTATION = "emu/runs", "emu/exit-code"
_SECONDS = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)s?")


class Lifetime(NamedTuple):
    """How long the containers run, and the exit code of the first one."""

    runs_ns: int
    exit_code: int


def lifetime(pod: Pod) -> Lifetime | None:
    """What the annotations `emu/runs: 30s` and `emu/exit-code: "1"` state; None: the containers run on. Raises InputError."""
    texts = pod.metadata.annotations
    text, code = texts.get(RUNS_ANNOTATION), texts.get(EXIT_ANNOTATION)
    where = f"pod {pod.namespace}/{pod.name} annotation"
    if text is None:
        if code is not None:
            raise InputError(
                "the containers run on, and have no exit code",
                path=f"{where} {EXIT_ANNOTATION}",
                expected=f"{RUNS_ANNOTATION}, too",
            )
        return None
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise InputError(
            f"cannot read {text!r}", path=f"{where} {RUNS_ANNOTATION}", expected="a number of seconds, such as 30s"
        )
    if pod.spec.restart_policy == "Always":
        raise InputError(
            "the containers are started again, for restartPolicy is Always", path=f"{where} {RUNS_ANNOTATION}",
            expected="restartPolicy OnFailure or Never",
        )  # fmt: skip
    value = decimal(code) if code is not None else 0
    if value is None or value > 255:
        raise InputError(f"cannot read {code!r}", path=f"{where} {EXIT_ANNOTATION}", expected="0 to 255")
    return Lifetime(int(float(found[1]) * SECOND), value)
