"""A flow that is served can be asked for by the next cell, whoever asks."""

from __future__ import annotations

import pytest
from prefect import flow, task
from prefect.deployments import run_deployment

import nbfutures as nbf


@task
def double(x):
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


def test_a_deployment_exists_when_serve_returns_and_its_flow_may_return_futures(server, capsys):
    @flow(name="at-once")
    def at_once(x: int):
        return {"a": double.submit(x), "b": [double.submit(2 * x)]}

    served = nbf.serve(at_once, name="now")
    try:
        assert served.is_ready
        assert "at-once/now: starting" in capsys.readouterr().out
        # As in a notebook that is run from top to bottom: Prefect itself is asked.
        flow_run = run_deployment("at-once/now", parameters={"x": 1}, timeout=0, as_subflow=False, _sync=True)
        assert flow_run.state.is_scheduled()
        job = nbf.options(deployment="at-once/now").map([{"x": 1}, {"x": -1}])
        assert job.wait(240)
        assert job.values() == [{"a": 2, "b": [4]}, None]
        with pytest.raises(ValueError, match="-1 is negative"):
            job.result()
    finally:
        served.stop()
