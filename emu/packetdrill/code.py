"""The code of a script: assertions about TCP_INFO, read as Python and evaluated here. No Python of a script is run.

Must not know sockets.
"""

from __future__ import annotations

import ast
import operator
import textwrap
from collections.abc import Callable, Mapping

from emu.errors import InputError

CONSTANTS: dict[str, int] = {
    **{f"TCP_CA_{name}": number for number, name in enumerate(("Open", "Disorder", "CWR", "Recovery", "Loss"))},
    **{name: number for number, name in enumerate(
        ("TCP_ESTABLISHED", "TCP_SYN_SENT", "TCP_SYN_RECV", "TCP_FIN_WAIT1", "TCP_FIN_WAIT2", "TCP_TIME_WAIT", "TCP_CLOSE",
         "TCP_CLOSE_WAIT", "TCP_LAST_ACK", "TCP_LISTEN", "TCP_CLOSING"), 1)},
    "TCPI_OPT_TIMESTAMPS": 1, "TCPI_OPT_SACK": 2, "TCPI_OPT_WSCALE": 4,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
}  # fmt: skip


def asserted(text: str) -> list[ast.Assert]:
    """The assertions of a block. Raises InputError for other code."""
    try:
        tree = ast.parse(textwrap.dedent(text).strip())
    except SyntaxError as error:
        raise InputError(f"cannot read the code: {error.msg}", expected="assert CONDITION, VALUE") from None
    found = []
    for each in tree.body:
        if not isinstance(each, ast.Assert):
            raise InputError(
                f"the code {ast.unparse(each)!r} is outside of the subset", expected="assert CONDITION, VALUE"
            )
        found.append(each)
    return found


def failures(text: str, values: Mapping[str, int]) -> list[tuple[str, str]]:
    """Each assertion that does not hold, with the values that it names. Raises InputError: a value that emu does not have, other code."""
    found = []
    names = CONSTANTS | dict(values)
    for each in asserted(text):
        if not _value(each.test, names):
            used = sorted({node.id for node in ast.walk(each.test) if isinstance(node, ast.Name) and node.id in values})
            found.append((ast.unparse(each.test), ", ".join(f"{name} is {values[name]}" for name in used)))
    return found


def _value(node: ast.expr, names: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return int(node.value)
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise InputError(
                f"{node.id} is outside of the subset: emu does not have it", expected="another value of TCP_INFO"
            )
        return names[node.id]
    if isinstance(node, ast.BoolOp):
        values = [bool(_value(each, names)) for each in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _value(node.operand, names)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Compare) and all(type(each) in _COMPARE for each in node.ops):
        values_ = [_value(each, names) for each in (node.left, *node.comparators)]
        pairs = zip(node.ops, values_, values_[1:], strict=False)
        return all(_COMPARE[type(each)](left, right) for each, left, right in pairs)
    raise InputError(f"the code {ast.unparse(node)!r} is outside of the subset", expected="comparisons of numbers")
