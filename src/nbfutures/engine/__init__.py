"""The engine: what runs the items of a job. It knows no Prefect."""
