"""What the live card costs, in a real kernel: messages and bytes to the browser, CPU seconds of its thread."""

from __future__ import annotations

import json
import queue
import time
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import start_new_kernel

from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

__all__ = ["measure"]

_PACE = {"slow": 400, "paced": 10_000}
"""Items per second, where they are held back."""
_TIMEOUT = 240.0
_SETUP = """
import json, time
import nbfutures as nbf
from nbfutures.views import display
spent = [0.0]
refresh = display.LiveDisplay._refresh
def timed(self):
    began = time.thread_time()
    try:
        return refresh(self)
    finally:
        spent[0] += time.thread_time() - began
display.LiveDisplay._refresh = timed
nbf.map(abs, range(10)).wait();
"""
_SHOW = """
job = nbf.options(workers={workers}, rate={rate}).map(lambda x: x, range({items}))
job
"""
_END = """
job.wait()
display.TICKER.join(20)
print(json.dumps([job.snapshot.elapsed, spent[0], job.counts.completed]))
"""


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run no-op items in a kernel while their card is shown.

    Args:
        workload: "slow" or "paced" for so many items a second, or "free"; with " folds", all folds are open.
        items: How many.
    """
    pace, _, folds = workload.partition(" ")
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        _run(client, _SETUP)
        shown = _run(client, _SHOW.format(workers=WORKERS, rate=_PACE.get(pace), items=items))
        _look(client, shown, with_folds=bool(folds))
        messages = _run(client, _END)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    told = "".join(one["content"]["text"] for one in messages if one["msg_type"] == "stream")
    seconds, cpu, completed = json.loads(told)
    assert completed == items
    sizes = [
        len(json.dumps(one["content"]))
        for one in [*shown, *messages]
        if one["msg_type"] == "comm_msg" and one["content"]["data"].get("method") == "update"
    ]
    # The last one tells the end, which does not wait for its turn.
    return {"seconds": seconds, "cpu_seconds": cpu, "updates": len(sizes) - 1, "bytes": sum(sizes), "most": max(sizes)}


def _run(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """Run a cell, and return what the kernel published up to its end."""
    request = client.execute(code)
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            message = client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.01))
        except queue.Empty:
            raise TimeoutError(f"The kernel did not end the cell in {_TIMEOUT:g} s: {code.strip()}") from None
        found.append(message)
        if message["msg_type"] == "error":
            raise RuntimeError("\n".join(message["content"]["traceback"]))
        is_idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        if is_idle and message["parent_header"].get("msg_id") == request:
            return found


def _look(client: BlockingKernelClient, shown: list[dict[str, Any]], *, with_folds: bool) -> None:
    """Do what the browser does when it draws the card."""
    (widget,) = [
        one["content"]["comm_id"]
        for one in shown
        if one["msg_type"] == "comm_open" and "jobs" in one["content"]["data"]["state"]
    ]
    wishes: list[dict[str, str]] = [{"do": "hello"}]
    if with_folds:
        wishes += [{"do": "open", "fold": fold} for fold in ("failures", "timeline", "results")]
    for wish in wishes:
        data = {"method": "custom", "content": {**wish, "view": "benchmark"}}
        client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": widget, "data": data}))
