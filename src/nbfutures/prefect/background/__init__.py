"""Background tasks: items that Prefect's task workers run, in processes that may outlive the kernel.

`window` submits a job's items, `watcher` is told how their task runs stand, `attach` finds a job again after a restart
of the kernel; `serving` starts worker processes for tasks of the notebook, `worker` is what runs in them.
"""
