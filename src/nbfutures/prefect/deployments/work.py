"""What a job with `deployment=` runs: one flow run of a Prefect deployment for each item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.futures_in import find_futures
from nbfutures.engine.calls.mapping import CallTable, StreamTable, map_calls, pending_lengths, single_call
from nbfutures.engine.calls.prefect_types import as_futures
from nbfutures.engine.calls.signatures import bind
from nbfutures.engine.calls.stream import is_unsized
from nbfutures.engine.calls.work import CallWork
from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError
from nbfutures.model.attributes import own_attribute
from nbfutures.prefect.resolving import resolve_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["NOTHING", "DeploymentWork", "deployment_work"]

NOTHING: Any = object()
"""Stands for an argument that was not given."""

_ROWS = "parameters"
_TAKEN = ("deployment", "name", "tags", "wait_for", "rate", "in_flight", "fail_fast")
_INSTEAD = {
    "limit": "in the flow, with concurrency('db', strict=True)",
    "retries": "@flow(retries=2)",
    "retry_delay": "@flow(retry_delay_seconds=5)",
    "timeout": "@flow(timeout_seconds=60)",
    "workers": "in_flight=..., or nbf.serve(flow, name=..., workers=4) where the notebook serves it",
}


class DeploymentWork(CallWork):
    """Flow runs of one deployment.

    Args:
        name: The deployment: "flow/name", or its id.
        arguments: The arguments by parameter name.
        table: The parameters of each flow run, or `None` if their number depends on futures.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], table: CallTable | None) -> None:
        self.deployment = name
        self.is_by_row = False
        """Whether what it maps over has one mapping of all parameters for each item."""
        super().__init__(_Stub(name), arguments, table, resolve=resolve_inputs)

    def resolved_parameters(self, index: int) -> dict[str, Any]:
        """Return the parameters of a flow run, with values in place of futures.

        Raises:
            ItemSkippedError: If it depends on something that did not complete.
            MapArgumentsError: If a future that stands for all parameters gave something else.
        """
        resolved = super().resolved_parameters(index)
        if isinstance(self.table, _Rows):
            return _checked_row(resolved if self.table.is_spread(index) else resolved[_ROWS], index)
        return resolved

    def resolve_length(self) -> range:
        """Split the parameters, now that the futures that they are mapped over have values; return the items."""
        items = super().resolve_length()
        if self.is_by_row and self.table is not None:
            self._prepare(_RowTable(self.target, self.table.columns[_ROWS]))
        return items

    def call_again(self, index: int) -> Any:
        """Refuse: the code is elsewhere."""
        raise NbfuturesError(
            f"Item {index} is a flow run of the deployment {self.deployment!r}, whose code runs elsewhere. Call the "
            f"flow itself with job.failure({index}).input to debug it, or run it again with job.retry()."
        )

    def replace_function(self, fn: Callable[..., Any]) -> None:  # noqa: ARG002 - as every work
        """Refuse: the code is the deployment's."""
        raise NbfuturesError(
            f"The deployment {self.deployment!r} decides what runs. Deploy or serve the new code under the same name, "
            f"then run job.retry()."
        )

    @staticmethod
    def check_options(given: Iterable[str]) -> None:
        """Raise `InvalidOptionError` for options that say how calls in this kernel run."""
        refused = [name for name in given if name not in _TAKEN]
        if refused:
            instead = "; ".join(_INSTEAD[name] for name in refused if name in _INSTEAD)
            raise InvalidOptionError(
                f"With deployment=, {', '.join(refused)} cannot be given: the deployment decides how its flow runs"
                f"{f' ({instead})' if instead else ''}. Options that it takes: {', '.join(_TAKEN)}."
            )


def deployment_work(
    name: str, first: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_single: bool
) -> DeploymentWork:
    """Return the work of making flow runs of a deployment.

    Args:
        name: The deployment: "flow/name", or its id.
        first: What was given by position: an iterable of dicts, or one dict for a single flow run; or `NOTHING`.
        args: More that was given by position.
        kwargs: Parameters by name; mapped over if there are to be many.
        is_single: Whether there is to be one flow run.

    Raises:
        MapArgumentsError: If the arguments do not fit, or there is nothing to map over.
    """
    how = "submit" if is_single else "map"
    if callable(first) or args:
        told = own_attribute(first, "__name__") or own_attribute(first, "name") or type(first).__name__
        raise MapArgumentsError(
            f"With deployment={name!r} the deployment's own flow runs, so that {how}() takes parameters and no "
            f"function{f', got {told}' if callable(first) else ''}. {_usage(name)}"
        )
    if first is not NOTHING and kwargs:
        raise MapArgumentsError(f"Give either dicts of parameters or parameters by name, not both. {_usage(name)}")
    stub = _Stub(name)
    if first is NOTHING:
        if is_single:
            table = single_call(stub, (), kwargs)
            return DeploymentWork(name, table.statics, table)
        arguments = dict(kwargs)
        if pending_lengths(arguments):
            return DeploymentWork(name, {one: as_futures(value) for one, value in arguments.items()}, None)
        return DeploymentWork(name, arguments, map_calls(stub, bind(stub, (), arguments)))
    if is_single:
        return DeploymentWork(name, {}, _RowTable(stub, [_checked_row(first, None)]))
    return _by_row(name, stub, first)


def _by_row(name: str, stub: _Stub, given: Any) -> DeploymentWork:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise MapArgumentsError(
            f"map() takes one dict of parameters for each flow run, in a list, got {type(given).__name__}. "
            f"{_usage(name)}"
        )
    if type(given).__name__ == "DataFrame":
        raise MapArgumentsError(
            "Iterating over a DataFrame gives its column names. One flow run for each row: "
            ".map(frame.to_dict('records'))."
        )
    if pending_lengths({_ROWS: given}):
        made = DeploymentWork(name, {_ROWS: as_futures(given)}, None)
        made.is_by_row = True
        return made
    if is_unsized(as_futures(given)):
        return DeploymentWork(name, {_ROWS: given}, _RowStream(stub, {_ROWS: as_futures(given)}, {}))
    rows = [
        # A future stands for parameters that are not known yet.
        row if not isinstance(row, Mapping) and find_futures(row) else _checked_row(row, index)
        for index, row in enumerate(as_futures(given))
    ]
    return DeploymentWork(name, {_ROWS: rows}, _RowTable(stub, rows))


class _Rows(CallTable):
    """Calls that are given by one mapping of all parameters each; a future may stand for one."""

    def is_spread(self, index: int) -> bool:
        """Tell whether the parameters are known by name."""
        return isinstance(self.columns[_ROWS][index], Mapping)

    def arguments(self, index: int) -> dict[str, Any]:
        """Return the parameters of the flow run at `index`."""
        row = self.columns[_ROWS][index]
        return dict(row) if isinstance(row, Mapping) else {_ROWS: row}


class _RowTable(_Rows):
    """Such calls, all of which are known."""

    def __init__(self, fn: Callable[..., Any], rows: Sequence[Any]) -> None:
        super().__init__(fn, {_ROWS: rows}, {}, len(rows))


class _RowStream(_Rows, StreamTable):
    """Such calls, which come from an iterator."""


class _Stub:
    """Stands for the flow of a deployment, which is elsewhere: it has a name and takes any parameters."""

    is_of_prefect = True
    """Futures count wherever they are in a flow's parameters."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, **parameters: Any) -> Any:
        raise NotImplementedError


def _checked_row(row: Any, index: int | None) -> dict[str, Any]:
    if isinstance(row, Mapping) and all(isinstance(name, str) for name in row):
        return dict(row)
    where = "" if index is None else f" of item {index}"
    raise MapArgumentsError(
        f"The parameters{where} have to be a dict with parameter names as keys, such as {{'x': 1}}, got "
        f"{type(row).__name__}. To map over values: .map(x=[1, 2, 3])."
    )


def _usage(name: str) -> str:
    return (
        f"Write nbf.options(deployment={name!r}).map([{{'x': 1}}, {{'x': 2}}]), .map(x=[1, 2], day='today'), "
        f"or .submit(x=1)."
    )
