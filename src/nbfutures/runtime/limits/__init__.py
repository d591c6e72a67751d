"""Prefect's limits of how many things run at once: to make and list them, and to take their slots for a job's items.

- `prefect_limits`: the requests to Prefect's API;
- `admin`: what people do with limits, with an end to each wait;
- `holding`: what slots a job holds and uses, and what is to be done about it next; no thread, no request;
- `keeper`: the thread that does it, for as long as the job runs.
"""
