"""A whole cluster is asked, over as many processes as there are, and its table made. Must not know the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from emu.kube.api.meta import Key, Path
from emu.matrix.ask import Answer, Answers, Asker, Question
from emu.matrix.ends import Whole
from emu.matrix.table import Table, table_of
from emu.spread import spread
from emu.why.case import Line

MARK = "\x00"
_MARKED = re.compile(rf" ?\({MARK}([^{MARK}]*){MARK}\)")


def asker_of(again: Callable[[], Whole], question: Question) -> Asker:
    """A cluster to be asked, made where it is asked. Its sentences name fields by marks, as only `ask_all` knows the files."""
    return Asker(again(), question, _marked)


def ask_all(
    again: Callable[[], Whole],
    question: Question,
    *,
    cluster: Whole | None = None,
    jobs: int = 0,
    dask: str = "",
    line: Line = lambda key, path: "",
    progress: Callable[[int, int, str], None] = lambda done, of, what: None,
) -> Table:
    """The table of a cluster that `again` makes, or of `cluster`, an equal one. Raises InputError."""
    asker = Asker(cluster if cluster is not None else again(), question, _marked)
    of = len(asker.columns)
    found = spread(
        partial(asker_of, again, question), Asker.ask, range(of), jobs=jobs, dask=dask, made=asker,
        done=lambda count: progress(count, of, "Service ports"),
    )  # fmt: skip
    return table_of(asker.rows, asker.columns, _with_lines(found, line), shared=question.shared)


def _marked(key: Key, path: Path) -> str:
    return f"{MARK}{json.dumps([[*key], [*path]])}{MARK}"


def _with_lines(found: Iterator[Answers], line: Line) -> Iterator[Answers]:
    """The answers with files and lines in the place of marks."""
    known: dict[str, str] = {}

    def placed(text: str) -> str:
        if MARK not in text:
            return text
        if text not in known:
            known[text] = _MARKED.sub(named, text)
        return known[text]

    def named(mark: re.Match[str]) -> str:
        key, path = json.loads(mark[1])
        place = line(Key(*key), tuple(path))
        return f" ({place})" if place else ""

    for each in found:
        yield each._replace(answers=_placed(each.answers, placed))


def _placed(answers: Sequence[Answer], placed: Callable[[str], str]) -> list[Answer]:
    return [
        each._replace(sentence=placed(each.sentence), remedy=placed(each.remedy)) if each.cause else each
        for each in answers
    ]
