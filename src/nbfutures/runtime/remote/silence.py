"""Workers that are there and are not heard any more."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.runtime.remote.contracts import RemoteRunner

__all__ = ["Silence"]

_LOOK_SECONDS = 1.0
_LOOKS = 5
"""So often in a row a worker has to be found silent: looks are counted, as the kernel itself may have been stopped."""


class Silence:
    """Looks, once a second, which workers are silent, and ends those that stay so.

    An item that computes for an hour, holding the interpreter, is not silent: its process runs, and is connected.

    Args:
        runner: Where the work runs.
    """

    def __init__(self, runner: RemoteRunner) -> None:
        self._runner = runner
        self._next_look = 0.0
        self._looks: Counter[Any] = Counter()
        self._ended: set[Any] = set()

    def look(self, futures: Iterable[Any], cut_off: Iterable[Any] = ()) -> None:
        """End the workers that were silent for some seconds; what they ran is to blame, as for any worker's end.

        Args:
            futures: What runs.
            cut_off: Those of it that are not connected any more, with items of which nothing is known.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        lost = set(cut_off)
        silent = [one for one in futures if one in lost or self._runner.is_stopped(one)]
        self._looks = Counter({one: self._looks[one] + 1 for one in silent})
        for one, looks in self._looks.items():
            if looks >= _LOOKS and one not in self._ended and self._runner.kill(one):
                self._ended.add(one)
