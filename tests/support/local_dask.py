"""A Dask cluster of processes on this machine, for tests. Where dask is missing, who asks for one is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

MISSING = "needs dask and distributed: pip install 'kubemu[dask]'"


@contextmanager
def scheduler(workers: int = 2, *, threads: int = 1, **worker: Any) -> Iterator[str]:
    """The address of its scheduler. `worker`: what each worker gets besides."""
    distributed = pytest.importorskip("distributed", reason=MISSING)
    with distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=True,
        dashboard_address=":0",
        host="127.0.0.1",
        **worker,
    ) as local:
        yield local.scheduler_address
