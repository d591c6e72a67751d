"""The local Prefect server: found or started, kept as long as somebody uses it."""
