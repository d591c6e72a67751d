"""The local server dies: whoever waits for it has it started again, and says so."""

from __future__ import annotations

CODE = """
import os, signal, socket, time
import nbfutures as nbf
from nbfutures.prefect.session import get_session
from prefect import get_client, task

def double(x):
    return x * 2

def kill():
    os.kill(get_session().lease.record.pid, signal.SIGKILL)

def is_there(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0

def notes(job):
    told = set()
    while not job.wait(0.05):
        told.add(repr(job))
    return "".join(told)

nbf.options(runner="processes", workers=1).submit(double, 1).result(200)
port = get_session().lease.record.port
kill()
# It outlives its supervisor for a moment, in which a job would need no other one.
while is_there(port):
    time.sleep(0.005)
job = nbf.options(runner="processes", workers=2).map(double, range(4))
tasks = nbf.options(runner="processes", workers=1).map(task(double), range(2))
told = notes(job)
# Which of the two depends on who sees first that it is gone.
says_so = "is being started again" in told or "Prefect is starting" in told
print(says_so, job.result(240), tasks.result(240), flush=True)
kill()
nbf.limit("db", 3)
print(nbf.limits().slots.tolist() if "slots" in nbf.limits() else len(nbf.limits()), flush=True)
kill()
# Nothing of nbfutures asks: what was served, or a client of Prefect's own, finds it again all the same.
end = time.monotonic() + 100
while time.monotonic() < end:
    try:
        with get_client(sync_client=True) as client:
            print(len(client.read_flow_runs()) > 0, flush=True)
        break
    except Exception:
        time.sleep(0.5)
"""


def test_a_server_that_is_killed_is_started_again_for_whoever_waits(start_kernel, tmp_path):
    kernel = start_kernel(CODE, NBFUTURES_HOME=str(tmp_path), NBFUTURES_SERVER_GRACE="1")
    assert kernel.read(300) == "True [0, 2, 4, 6] [0, 2]", kernel.stderr
    assert kernel.read(240) in {"1", "[3]", "[3.0]"}
    assert kernel.read(240) == "True"
    assert kernel.end(60)[0] == 0, kernel.stderr
