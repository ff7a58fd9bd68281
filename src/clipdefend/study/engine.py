"""Runs a graph of jobs by Dask: on threads of this process, without a server, or on the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clipdefend.errors import ConfigError
from clipdefend.study.carry_out import FAILED, Job, carry_out, end, stop

MISSING = "Dask is not installed, or only a part of it. Install it with: pip install 'clipdefend[study]'."
Tell = Callable[[str, str], None]


def run_graph(
    jobs: Mapping[str, Job],
    parents: Mapping[str, Sequence[str]],
    count: int,
    tell: Tell,
    scheduler: str | None = None,
) -> dict[str, str]:
    """Run jobs, each after its parents.

    Args:
        jobs: by name, parents before children.
        parents: name -> names of the job's parents.
        count: number of jobs at a time, without a scheduler.
        tell: called with name and outcome of each job that has ended, in this process.
        scheduler: address of a Dask scheduler, whose workers share the folder.

    Returns:
        Name -> outcome, as of ``carry_out``.

    Raises:
        ConfigError: Dask is missing, or the scheduler does not answer.
    """
    try:
        from dask.threaded import get
    except ImportError:
        raise ConfigError(MISSING) from None

    def told(job: Job, before: list[str]) -> str:
        outcome = carry_out(job, before)
        tell(job.name, outcome)
        return outcome

    if scheduler is not None:
        return _on_workers(jobs, parents, tell, scheduler)
    graph: dict[str, Any] = {name: (told, job, list(parents[name])) for name, job in jobs.items()}
    try:
        outcomes = get(graph, list(jobs), num_workers=count)
    except BaseException:
        stop()
        raise
    finally:
        end()
    return dict(zip(jobs, outcomes, strict=True))


def _on_workers(
    jobs: Mapping[str, Job], parents: Mapping[str, Sequence[str]], tell: Tell, address: str
) -> dict[str, str]:
    try:
        import distributed
    except ImportError:
        raise ConfigError(MISSING) from None
    library: Any = distributed  # its calls are untyped
    try:
        client = library.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--scheduler {address!r} does not answer: {error}.") from None
    with client:
        made: dict[str, Any] = {}
        for name, job in jobs.items():
            made[name] = client.submit(carry_out, job, [made[p] for p in parents[name]], pure=False)
        names = {future.key: name for name, future in made.items()}
        outcomes: dict[str, str] = {}
        for future in library.as_completed(made.values()):
            name = names[future.key]
            try:
                outcomes[name] = future.result()
            except (
                library.KilledWorker
            ):  # several workers have gone while they made it, such as at a time limit
                outcomes[name] = FAILED
            tell(name, outcomes[name])
        return {name: outcomes[name] for name in jobs}
