"""Names as Prefect takes them."""

from __future__ import annotations

import re

__all__ = ["flow_name", "template_of"]


def flow_name(name: str) -> str:
    """Return a name for a flow: without the characters that Prefect refuses there."""
    return re.sub(r"[/%&<>]", "-", name)


def template_of(name: str) -> str:
    """Return a template for the name of a run that gives just this name: Prefect fills in what is in braces."""
    return name.replace("{", "{{").replace("}", "}}")
