"""What to write instead, below the error of a cell that uses Prefect or asyncio as a script would."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from nbfutures.errors import NbfuturesError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

__all__ = ["advice_on", "advise"]

_FLOW = re.compile(r"'Flow' object has no attribute '(delay|submit|map|apply_async)'")
_LOOPS = "asyncio.run() cannot be called from a running event loop"


def advise(result: ExecutionResult) -> None:
    """Print what helps with the error of a cell that has run; nothing if nothing is known that does."""
    told = advice_on(result.error_in_exec)
    if told:
        print(f"nbfutures: {told}", file=sys.stderr)  # noqa: T201 - what it is for


def advice_on(error: BaseException | None) -> str:
    """Return what to write instead of what has raised an error; empty if that is not known."""
    if isinstance(error, AttributeError) and not isinstance(error, NbfuturesError) and _FLOW.search(str(error)):
        return (
            "Prefect's flows have no such method: call the flow, or run it in the background with "
            "nbf.run(my_flow, ...). To have it run by workers, call it in a task: that has .delay(), .submit() and "
            ".map()."
        )
    if isinstance(error, RuntimeError) and str(error) == _LOOPS:
        return (
            "a notebook runs an event loop already: write `await main()` in place of asyncio.run(main()), or put the "
            "code into a %%flow cell, where it works as it is."
        )
    return ""
