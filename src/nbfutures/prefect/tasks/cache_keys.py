"""Says on a job that its task runs are not cached, since Prefect can make no key of what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.utilities.hashing import hash_objects

from nbfutures.engine.job_note import JobNote

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.tasks import Task

    from nbfutures.engine.contracts import Run
    from nbfutures.prefect.outcomes import Observed

__all__ = ["UncachedNote", "watch_key"]


def watch_key(task: Task[Any, Any], tell: Callable[[str], None]) -> None:
    """Have it told why Prefect can make no cache key, where the task has a policy and its values are kept.

    Args:
        task: A copy of the user's task, which is changed.
        tell: Called where the task runs.
    """
    # Without values that are kept, nothing is cached in any case, which is Prefect's default.
    policy: Any = task.cache_policy if task.persist_result else None
    if isinstance(policy, CachePolicy) and policy != NO_CACHE:
        watched: Any = _WatchedPolicy(policy, tell)
        task.cache_policy = watched


class _WatchedPolicy(CachePolicy):
    """Another cache policy, which tells where it can make no key."""

    def __init__(self, policy: CachePolicy, tell: Callable[[str], None]) -> None:
        super().__init__(policy.key_storage, policy.isolation_level, policy.lock_manager)
        self._policy = policy
        self._tell = tell

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key, as the policy makes it; what it raises, Prefect logs, and runs the task uncached."""
        try:
            return self._policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
        except Exception as error:
            self._tell(_words(self._policy, inputs, error))
            raise


def _words(policy: CachePolicy, inputs: dict[str, Any], error: Exception) -> str:
    if hasattr(policy, "cache_key_fn"):
        return f"not cached: cache_key_fn raised {type(error).__name__}: {_first_line(error)}"
    for name, value in inputs.items():
        try:
            hash_objects({name: value}, raise_on_failure=True)
        except Exception:
            return (
                f"not cached: the argument {name!r} ({type(value).__name__}) cannot be part of the cache key. Leave it "
                f"out: cache_policy=INPUTS - {name!r}"
            )
    return f"not cached: {type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


class UncachedNote:
    """Says on a job, once, why its task runs are not cached; still when it has ended.

    Args:
        run: The job.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._note = JobNote(run.state)
        self._is_told = False

    def tell(self, seen: Observed) -> None:
        """Say it, if this was seen of a task run."""
        why = seen.uncached
        if why is None or self._is_told:
            return
        self._is_told = True
        state = self._run.state
        self._note.tell_if_free(why)
        # A job's end takes its note back; this one is still worth reading.
        self._run.on_done(lambda: None if state.note else state.set_note(why))
