"""Talk to a Prefect API with the standard library alone: importing Prefect takes seconds."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["Health", "authorization", "check_health", "lets_in", "post"]

_DETAIL_WIDTH: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class Health:
    """What a Prefect API answered."""

    ok: bool
    """Whether it answered with a status of 200 to 299."""
    status: int | None
    """HTTP status; None if there was no answer."""
    detail: str
    """The answer or the trouble, in one line for people to read."""

    @property
    def is_there(self) -> bool:
        """Whether something answered, if only that it wants a key: nobody who asks for the health gives one."""
        return self.ok or self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def check_health(
    api_url: str,
    timeout: float,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Health:
    """Ask a Prefect API for its health; trouble with the network or the URL is an answer, not an exception.

    Args:
        api_url: As in `PREFECT_API_URL`, http or https. Its path is kept: `.../api` is asked at `.../api/health`.
        timeout: Seconds for connecting, and again for each wait for data. Blocks that long at most, but for the time
            that looking up the name of the host takes.
        headers: Sent along, such as those of `authorization`.
        tls: For https; if None, the system's certificates.
    """
    return _ask(f"{api_url.rstrip('/')}/health", timeout, headers=headers, tls=tls)


def authorization(auth: str) -> dict[str, str]:
    """Return the headers that let a request in, from `user:password`."""
    return {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode('ascii')}"}


def lets_in(api_url: str, auth: str, timeout: float) -> bool:
    """Tell whether the API is up and takes this `user:password`; timeout in seconds as for `check_health`."""
    # Health, which is free for all to ask, comes first: while our server starts, nothing should get the secret.
    return (
        check_health(api_url, timeout).ok and _ask(f"{api_url}/admin/version", timeout, headers=authorization(auth)).ok
    )


def post(url: str, content: str, timeout: float, *, auth: str) -> Health:
    """Post JSON to a URL, and tell how that went; timeout in seconds as for `check_health`."""
    return _ask(url, timeout, headers={**authorization(auth), "Content-Type": "application/json"}, content=content)


def _ask(
    url: str,
    timeout: float,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    content: str | None = None,
) -> Health:
    """Read a URL, or post to it, and tell how that went; arguments as above. Redirects are not followed."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return Health(ok=False, status=None, detail=f"{url!r} is not a URL: {error}")
    if parts.scheme not in {"http", "https"} or not host:
        return Health(ok=False, status=None, detail=f"{url!r} is not a URL that starts with http:// or https://")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), urllib.request.HTTPSHandler(context=tls)]
    if host == "localhost" or host.startswith("127.") or host == "::1":
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy can reach this machine's own loopback
    try:
        request = urllib.request.Request(url, content.encode() if content else None, headers=dict(headers or {}))  # noqa: S310 - checked above
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
            status, body = int(response.status), response.read(_DETAIL_WIDTH)
    except urllib.error.HTTPError as error:
        with error:
            return Health(ok=False, status=error.code, detail=f"HTTP {error.code} {error.reason}")
    except urllib.error.URLError as error:
        return Health(ok=False, status=None, detail=_one_line(error.reason))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Health(ok=False, status=None, detail=_one_line(error))
    return Health(ok=True, status=status, detail=_one_line(body.decode("utf-8", "replace")))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an answer: following it could carry the headers to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _one_line(what: object) -> str:
    text = " ".join(str(what).split()) or type(what).__name__
    return text[:_DETAIL_WIDTH]
