"""Prefect's annotations for arguments, re-exported."""

from prefect import allow_failure, unmapped
from prefect.utilities.annotations import quote

__all__ = ["allow_failure", "quote", "unmapped"]
