"""The future of a task run on Ray, which ends when Ray is let go of."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State
from prefect_ray.task_runners import PrefectRayFuture

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

__all__ = ["RayFuture"]


class RayFuture(PrefectRayFuture[Any]):  # type: ignore[misc]  # prefect-ray has no types
    """A future that tells of a worker's end, which prefect-ray's own makes a state of.

    It never asks Ray: where Ray is not there any more, that would start another one.

    Args:
        task_run_id: The task run.
        wrapped_future: Where Ray has what comes of it: an `ObjectRef`.
        answer: Gets what comes of it.
    """

    _final_state: State[Any] | None

    def __init__(self, task_run_id: UUID, wrapped_future: Any, answer: concurrent.futures.Future[Any]) -> None:
        super().__init__(task_run_id=task_run_id, wrapped_future=wrapped_future)
        self._answer = answer

    def __reduce__(self) -> tuple[Any, ...]:
        # It goes to the workers with a task that waits for it: there, Ray can be asked.
        return PrefectRayFuture, (self.task_run_id, self.wrapped_future)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the task run is done, or for so many seconds.

        Raises:
            Exception: What Ray says of a task that its workers could not run.
        """
        if self._final_state is None and concurrent.futures.wait([self._answer], timeout).done:
            ended = self._answer.result()
            if isinstance(ended, State):
                self._final_state = ended

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Block until the task run is done, and return its value.

        Raises:
            TimeoutError: If it is not done after so many seconds.
        """
        self.wait(timeout)
        if self._final_state is not None:
            return super().result(raise_on_failure=raise_on_failure)
        if not self._answer.done():
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")
        return self._answer.result()

    def add_done_callback(self, fn: Callable[[RayFuture], Any]) -> None:
        """Have `fn` called with this future when the task run is done; at once if it is."""
        self._answer.add_done_callback(lambda _: fn(self))
