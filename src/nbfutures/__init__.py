"""Concurrent work from a notebook cell, on Prefect."""
