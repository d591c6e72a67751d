"""Names as Prefect takes them."""

from __future__ import annotations

import re

__all__ = ["flow_name", "run_name", "template_of"]


def flow_name(name: str) -> str:
    """Return a name for a flow: without the characters that Prefect refuses there."""
    return re.sub(r"[/%&<>]", "-", run_name(name))


def run_name(name: str) -> str:
    """Return a name for a run: without control characters and halves of others, which no database takes."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", " ", name).strip() or "unnamed"


def template_of(name: str) -> str:
    """Return a template for the name of a run that gives just this name: Prefect fills in what is in braces."""
    return run_name(name).replace("{", "{{").replace("}", "}}")
