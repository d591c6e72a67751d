"""Prefect's limits of how many things run at once: to make and list them, and to take their slots for a job's items.

- `prefect_limits`: the requests to Prefect's API;
- `admin`: what people do with limits, with an end to each wait;
- `holding`: what slots a job holds and uses, and which of the `steps` comes next; no thread, no request;
- `keeper`: the thread that does it, for as long as the job runs; `no_limit` is in its place where there is no limit;
- `slot_waits`: says that limits are in use where nothing of a job moves; `note` has the words for what `limit=` waits
  for;
- `missing`: says on a job that its items use a limit that does not exist.
"""
