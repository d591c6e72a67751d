"""Flow runs of Prefect deployments as items of a job, and flows of a notebook that are served as deployments."""
