"""Prefect tasks: one task run for each item."""
