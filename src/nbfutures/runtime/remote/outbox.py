"""What a lane sends to its worker: the function, and the arguments of items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbfutures.errors import ItemSkippedError
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.runtime.remote.packing import unsendable_item

if TYPE_CHECKING:
    from nbfutures.runtime.remote.supply import Supply
    from nbfutures.runtime.remote.wire import Wire

__all__ = ["Outbox"]


class Outbox:
    """Packs what one worker is to have, and posts it; used with the lane's lock held.

    Args:
        supply: What is sent, shared with the job's other lanes.
        wire: The connection to the worker.
    """

    def __init__(self, supply: Supply, wire: Wire) -> None:
        self._supply = supply
        self._wire = wire
        self.outstanding: dict[int, None] = {}
        """Items that were sent and of which nothing is known yet, in their order."""
        self.sent = 0
        """How many items were sent, those among them that came back."""
        self._function: Any = None
        self._code = 0
        """How much of the code that arguments share the worker has."""

    def send_function(self) -> None:
        """Send the function, if the worker has not got it.

        Raises:
            PicklingError: If it cannot be sent.
        """
        function = self._supply.work.work.function
        if function is not self._function:
            payload, self._code = self._supply.packed_function()
            self._wire.post("function", payload)
            self._function = function

    def send_items(self, indices: list[int]) -> list[Outcome]:
        """Send items, and return the outcomes of those that cannot be sent."""
        try:
            self._post(indices)
        except Exception:
            return [outcome for index in indices if (outcome := self._send_alone(index)) is not None]
        return []

    def _send_alone(self, index: int) -> Outcome | None:
        work = self._supply.work
        try:
            self._post([index])
        except ItemSkippedError as error:
            return work.unrun(index, OutcomeKind.SKIPPED, error)
        except Exception as error:
            return work.unrun(index, OutcomeKind.FAILED, unsendable_item(work.work.item(index), error))
        return None

    def _post(self, indices: list[int]) -> None:
        payload, self._code = self._supply.packed_arguments(indices, self._code)
        self.outstanding.update(dict.fromkeys(indices))
        self.sent += len(indices)
        self._supply.note_size(len(indices), len(payload))
        self._wire.post("items", indices, self._supply.extras(indices), payload)
