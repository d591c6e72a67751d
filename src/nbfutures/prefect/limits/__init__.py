"""Prefect's limits of how many things run at once: to make and list them, and to take their slots for a job's items.

- `prefect_limits`: the requests to Prefect's API;
- `admin`: what people do with limits, with an end to each wait;
- `slot_leases`: what slots a job holds and uses, which step comes next, and the thread that takes it for as long as the
  job runs;
- `slot_waits`: says that limits are in use where nothing of a job moves.
"""
