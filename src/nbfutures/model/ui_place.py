"""Where a browser finds Prefect's interface."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOGIN_PAGE", "UiPlace"]

LOGIN_PAGE = "nbfutures-login.html"
"""A page beside the interface of the local server, which takes the password from the notebook that opens it."""


@dataclass(frozen=True, slots=True)
class UiPlace:
    """Prefect's interface, for a browser."""

    address: str
    """Ends in a slash. A whole address; or, where the notebook's own server passes it on, a path on that server."""
    has_login_page: bool = False
    """Whether `LOGIN_PAGE` is there: it is our own server, which a notebook may show below a cell."""

    def page(self, path: str) -> str:
        """Return the address of a page of the interface, such as `runs/flow-run/ID`."""
        return f"{self.address}{path.lstrip('/')}"

    def login(self, path: str) -> str:
        """Return the address of a page, by way of the login page where there is one."""
        return f"{self.address}{LOGIN_PAGE}#{path.lstrip('/')}" if self.has_login_page else self.page(path)
