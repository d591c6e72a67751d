"""Prefect's annotations for arguments, re-exported."""

from prefect.utilities.annotations import allow_failure, quote, unmapped

__all__ = ["allow_failure", "quote", "unmapped"]
