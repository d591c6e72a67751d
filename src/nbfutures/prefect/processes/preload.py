"""What the processes of a kernel have in common: loaded once, by the server that they are forked from.

An interrupt of the kernel that comes meanwhile is not for it. What this loads must start no threads.
"""

import gc
import signal

_before = signal.signal(signal.SIGINT, signal.SIG_IGN)
if hasattr(signal, "pthread_sigmask"):
    # Blocked by who started the server, until now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
try:
    import prefect.task_engine  # noqa: F401 - for the processes

    import nbfutures.prefect.remote.worker  # noqa: F401 - for the processes
finally:
    signal.signal(signal.SIGINT, _before)
# What is loaded stays: a collection in a process, which looks through all there is, took 0.2 s for it each time.
gc.freeze()
