"""A session that answers: what the contenders with Prefect start from."""

from __future__ import annotations

from nbfutures.prefect.session import get_session

__all__ = ["warm_session"]


def warm_session() -> None:
    """Connect this process to the server, and have Prefect imported with its settings."""
    session = get_session()
    session.start()
    session.wait_until_ready()
