"""Worker processes for background tasks, as people hold them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nbfutures.runtime.background import serving
from nbfutures.views.serving import serving_text

if TYPE_CHECKING:
    from nbfutures.runtime.background.serving import Service, ServiceStatus

__all__ = ["Serving"]

_LOOK_SECONDS = 0.05


class Serving:
    """Worker processes that serve tasks; shows what they do. Made by `serve`.

    Args:
        service: Those of one call of `serve`; all of this user if not given.
    """

    def __init__(self, service: Service | None = None) -> None:
        self._service = service

    def statuses(self) -> list[ServiceStatus]:
        """Return how the worker processes stand now, one for each call of `serve`."""
        found = serving.statuses()
        if self._service is None:
            return found
        return [one for one in found if one.id == self._service.record.id]

    def pids(self) -> list[int]:
        """Return the ids of the processes that live."""
        return [pid for one in self.statuses() for pid in one.pids]

    def wait(self, timeout: float = 60.0) -> bool:
        """Block until all worker processes take items, or cannot be started.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether they do.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.statuses()
            if found and all(one.ready and one.ready == one.wanted for one in found):
                return True
            if any(one.error for one in found) or not found:
                return False
            time.sleep(_LOOK_SECONDS)
        return False

    def stop(self) -> None:
        """End them, with what they run: that fails, and can be retried. Blocks for some seconds at most."""
        if self._service is not None:
            serving.end(self._service.record)
        else:
            serving.stop()

    def __repr__(self) -> str:
        return serving_text(self.statuses())
