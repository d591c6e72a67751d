"""The flow run of a job in Prefect: its start, its end, its cancelling, its logs and its summary."""
