"""Prefect's interface below a cell."""
