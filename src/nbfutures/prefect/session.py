"""What one kernel holds: the connection to Prefect and the list of jobs."""

from __future__ import annotations

import atexit
import builtins
import importlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from nbfutures.engine.job_list import JobList
from nbfutures.errors import ServerFailedError, ServerStartError, ServerUnreachableError
from nbfutures.model.options import JobOptions
from nbfutures.prefect.prefect_logging import keep_logging_apart, quiet_logging
from nbfutures.prefect.server.health import check_health
from nbfutures.prefect.server.lease import ServerLease, lease_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbfutures.engine.contracts import Run
    from nbfutures.prefect.server.lease import ServerAddress

__all__ = ["Session", "get_session"]

_QUIET = {
    # A task that a cell calls outside of any flow has no run to keep its log lines: a warning for each of them.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def configured_api_url() -> str | None:
    """Return the API URL that the user has chosen, by environment or by Prefect's profile; `None` if there is none.

    Imports Prefect only where its profiles mention an API.
    """
    url = os.environ.get("PREFECT_API_URL")
    if url:
        return url
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if not any(map(_may_set_api, (profiles, *map(Path, ("prefect.toml", "pyproject.toml", ".env"))))):
        return None
    from prefect.settings import PREFECT_API_URL

    chosen = PREFECT_API_URL.value()
    return str(chosen) if chosen else None


def _may_set_api(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
    return "prefect_api_url" in text or (file.name in ("prefect.toml", "pyproject.toml") and "api]" in text)


class ProcessSettings:
    """Settings of Prefect that this process runs with."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}
        self._profiles: Path | None = None

    def apply(self) -> None:
        """Have Prefect be quiet; what the user has set stays."""
        self._set({name: value for name, value in _QUIET.items() if name not in os.environ} | quiet_logging())
        _refresh()

    def connect(self, address: ServerAddress, state: Path) -> None:
        """Have Prefect use the local server, in this process and in those that it starts.

        Args:
            address: Where the server is.
            state: Its state directory.
        """
        private = importlib.import_module("nbfutures.prefect.private_settings")
        self._profiles = private.write_profiles(state, address.auth)
        wanted: dict[str, str | None] = {
            "PREFECT_API_URL": address.api_url,
            "PREFECT_PROFILES_PATH": str(self._profiles),
            # It would come before that of the profiles.
            "PREFECT_API_AUTH_STRING": None,
            # One request less for each client that Prefect makes, which is one for each flow run; the secret guards it.
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": os.environ.get("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false"),
            # It is of the same version. A worker process would ask at its start, and give up if the server is away.
            "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": os.environ.get(
                "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false"
            ),
            "DO_NOT_TRACK": os.environ.get("DO_NOT_TRACK", "1"),
        }
        if any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ):
            # Prefect's clients would ask the proxy for this machine's loopback interface.
            present = os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))
            wanted["NO_PROXY"] = ",".join(filter(None, [present, "127.0.0.1", "localhost"]))
        self._set(wanted)
        _refresh()
        private.keep_secret(address.auth)

    def restore(self) -> None:
        """Give back the environment as it was."""
        self._set(self._before)
        self._before.clear()
        _refresh()
        profiles, self._profiles = self._profiles, None
        if profiles is not None:
            importlib.import_module("nbfutures.prefect.private_settings").give_back(profiles)

    def _set(self, wanted: Mapping[str, str | None]) -> None:
        for name, value in list(wanted.items()):
            self._before.setdefault(name, os.environ.get(name))
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _refresh() -> None:
    # Prefect reads the environment when it is imported; if it was imported before, it has to read it again.
    # Asked by attribute: another thread may be in the middle of importing Prefect, which reads the environment itself.
    refresh = getattr(sys.modules.get("prefect.context"), "refresh_global_settings_context", None)
    if refresh is not None:
        refresh()


_WATCH_SECONDS = 0.4
_HEALTH_SECONDS = 0.5
"""Together with the interval: trouble is told within a second."""
_REVIVE_SECONDS = 2.0
"""Between two looks at a local server while no job runs: workers, limits and served flows need it, too."""
_IDLE_SECONDS = 2.0


class HealthWatch:
    """Asks for Prefect's health while jobs run, on a thread of its own.

    Args:
        jobs: The session's, also those that it will have.
        api_url: Returns where Prefect is; `None` while that is not known.
        revive: Has a local server that has ended started again, and returns what is to be told of that; "" where there
            is nothing to tell, `None` where there is no local server.
    """

    def __init__(
        self, jobs: Sequence[Run], api_url: Callable[[], str | None], revive: Callable[[], str | None]
    ) -> None:
        self._jobs = jobs
        self._api_url = api_url
        self._revive = revive
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Watch until some time after the last job, or as long as there is a local server, if nobody does."""
        with self._lock:
            self._wake.set()
            # One that was stopped may take a moment to end.
            if self._thread is not None and self._thread.is_alive() and not self._stopped.is_set():
                return
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._watch, self._stopped), name="nbfutures health", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Watch no more. Does not block."""
        with self._lock:
            self._stopped.set()
            self._wake.set()

    def _watch(self, stopped: threading.Event) -> None:
        idle_since = time.monotonic()
        while not stopped.wait(_WATCH_SECONDS):
            revival = self._revive()
            running = [run for run in self._jobs if not run.state.is_done]
            if running:
                idle_since = time.monotonic()
                self._tell(running, revival)
            elif revival is not None:
                self._wake.clear()
                self._wake.wait(_REVIVE_SECONDS)
            elif time.monotonic() - idle_since > _IDLE_SECONDS:
                return

    def _tell(self, running: list[Run], trouble: str | None) -> None:
        if not trouble:
            api_url = self._api_url()
            if api_url is None:
                return
            health = check_health(api_url, _HEALTH_SECONDS)
            trouble = "" if health.is_there else health.detail
        for run in running:
            run.note_health(trouble)


_REACH_SECONDS = 5.0
_RECHECKS = 3
_RECHECK_SECONDS = 0.4
_FLUSH_SECONDS = 2.0
_REVIVALS = 3
"""How often a local server that has ended is started again, within so many seconds."""
_REVIVAL_SECONDS = 600.0
_REVIVING = "its local server has ended, and is being started again: some ten seconds"
_WARM = (
    "nbfutures.prefect.background.serving",
    "nbfutures.prefect.background.api_loop",
    "nbfutures.engine.shared_loop",
    "nbfutures.prefect.runners.processes",
    "nbfutures.prefect.runners.dask",
    "nbfutures.prefect.runners.ray",
    "nbfutures.prefect.deployments.serving",
)
"""What keeps workers or connections between jobs, once it is loaded."""


_DRAIN_SECONDS = 10.0


class ExitJobs:
    """Has jobs end before Prefect's services do, and tells of those that had no chance to run.

    Args:
        jobs: The session's, also those that it will have.
    """

    def __init__(self, jobs: Sequence[Run]) -> None:
        self._jobs = jobs
        self._warns = False
        self._drained = False

    def warn_at_exit(self) -> None:
        """Have a script that ends before its jobs have run say so."""
        if not self._warns:
            self._warns = True
            _register(self._warn)

    def drain_at_exit(self) -> None:
        """Have the jobs end while Prefect's services run; to be called once these have registered for the end."""
        try:
            _register(self._drain)
        except RuntimeError:
            return

    def _drain(self) -> None:
        if self._drained:
            return
        self._drained = True
        # The items of background jobs are with workers elsewhere, and go on.
        running = [
            run
            for run in self._jobs
            if run.thread is not None and run.thread.is_alive() and (run.state.is_done or not run.options.background)
        ]
        if not _is_notebook():
            # A script ends when its work does, as with `concurrent.futures`.
            for run in running:
                if run.thread is not None:
                    run.thread.join()
            flush_summaries(_DRAIN_SECONDS)
            return
        for run in running:
            run.cancel("Cancelled since the kernel ended.")
        deadline = time.monotonic() + _DRAIN_SECONDS
        for run in running:
            if run.thread is not None:
                run.thread.join(max(deadline - time.monotonic(), 0.0))
        flush_summaries(deadline - time.monotonic())

    def _warn(self) -> None:
        # Prefect cannot be started any more once the interpreter ends: a job that waited for it has not run.
        for run in self._jobs:
            if not run.state.is_done and not run.options.background and not _is_notebook():
                sys.stderr.write(
                    f"nbfutures: the script ended before {run.name!r} had run. Wait for it at the end: job.wait().\n"
                )


def flush_summaries(timeout: float) -> None:
    """Wait until the summaries of jobs are sent, if there are any; at most so many seconds."""
    summaries = sys.modules.get("nbfutures.prefect.flow_runs.summaries")
    if summaries is not None:
        summaries.flush_summaries(timeout)


def _register(call: Callable[[], None]) -> None:
    # `atexit` is too late: by then Prefect can send nothing any more.
    getattr(threading, "_register_atexit", atexit.register)(call)


def _is_notebook() -> bool:
    return hasattr(builtins, "__IPYTHON__")


class Session:
    """The kernel's connection to Prefect, made in the background, and its jobs, the newest last."""

    def __init__(self) -> None:
        self.jobs = JobList()
        self.defaults = JobOptions()
        self.ready = threading.Event()
        """Set once Prefect answers or cannot be had."""
        self.error: Exception | None = None
        self.api_url: str | None = None
        self.lease: ServerLease | None = None
        self._latest: ServerLease | None = None
        """The last one whose server has answered."""
        self._settings = ProcessSettings()
        self._lock = threading.Lock()
        self._starter: threading.Thread | None = None
        self._leaver: threading.Thread | None = None
        """A start that was closed before it had ended."""
        self._exit_jobs = ExitJobs(self.jobs)
        self._health_watch = HealthWatch(self.jobs, lambda: self.api_url if self.ready.is_set() else None, self._revive)
        self._revivals: list[float] = []
        """When a local server that had ended was started again, by `time.monotonic`."""
        self._closing = threading.Event()

    def start(self) -> None:
        """Connect to Prefect in the background, if that is not done; a failed start is tried again. Does not block."""
        with self._lock:
            if self._starter is not None and (self._starter.is_alive() or self._is_well()):
                return
            self.ready.clear()
            self.error = None
            # One for each start: a start that goes on while the session is closed has to see that later.
            self._closing = threading.Event()
            self._starter = threading.Thread(
                target=copy_context().run,
                args=(self._start, self._closing, self._leaver),
                name="nbfutures session",
                daemon=True,
            )
            self._starter.start()

    def wait_until_ready(self, stop: threading.Event | None = None) -> None:
        """Block until Prefect answers.

        Args:
            stop: Ends the waiting when it is set.

        Raises:
            ServerStartError: If the local server did not start.
            ServerUnreachableError: If the server that the user has chosen does not answer.
        """
        self.start()
        while not self.ready.wait(0.1):
            if stop is not None and stop.is_set():
                raise ServerStartError("The job was cancelled while Prefect was starting.")
        if self.error is not None:
            raise self.error

    def add(self, run: Run) -> None:
        """Add a job to the list, and watch Prefect's health while it runs."""
        self.jobs.append(run)
        self._exit_jobs.warn_at_exit()
        self._health_watch.start()

    def drain_at_exit(self) -> None:
        """Have the jobs end before Prefect's services do when the process ends, so that their last states are recorded.

        To be called once Prefect's services run: they register in the same place, and the last one is called first.
        """
        self._exit_jobs.drain_at_exit()

    def close(self, *, is_exit: bool = False) -> None:
        """Cancel what runs, let go of the server and give back the settings.

        Args:
            is_exit: Whether the process ends; background jobs go on without it.
        """
        for run in self.jobs:
            if not run.state.is_done and not (is_exit and run.options.background):
                run.cancel()
        with self._lock:
            self._closing.set()
            self._health_watch.stop()
            is_starting = self._starter is not None and self._starter.is_alive()
            self._leaver = self._starter if is_starting else None
            self._starter = None
            self.ready.clear()
        with suppress(RuntimeError):  # no thread can be started when the interpreter ends: all is sent by then
            # Not on this thread, which is that of the cells: the server may be away.
            flusher = threading.Thread(target=flush_summaries, args=(_FLUSH_SECONDS,), daemon=True)
            flusher.start()
            flusher.join(_FLUSH_SECONDS)
        if not is_starting:
            # Else the start does it as it ends: it may be in the middle of importing Prefect.
            self._let_go()

    def explained(self, error: BaseException) -> BaseException:
        """Return an error that says why the local server failed, where that is behind an error; else the error itself.

        Args:
            error: Anything. What a server of the user's answers, or another service, stays as it is.
        """
        lease = self.lease
        cause: BaseException | None = error
        while lease is not None and cause is not None:
            response = getattr(cause, "response", None)
            # Known by its name: Prefect may not be imported yet.
            if type(cause).__name__ == "PrefectHTTPStatusError" and response is not None:
                is_ours = str(response.request.url).startswith(lease.record.api_url)
                if is_ours and response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
                    told = ServerFailedError(lease.explain_failure())
                    told.__cause__ = cause
                    return told
            cause = cause.__cause__
        return error

    # --- connecting ------------------------------------------------------------------------------------------------

    def _is_well(self) -> bool:
        return self.ready.is_set() and self.error is None and (self.lease is None or self.lease.is_alive())

    def _revive(self) -> str | None:
        """Have the local server started again if it has ended: whoever waits for it would do so for ever.

        Returns:
            What is to be told of that; "" while the server is there, `None` if there is none to look after.
        """
        with self._lock:
            starter, lease = self._starter, self.lease
            if starter is None or lease is None or self._latest is None:
                return None
            if self._is_well() or (starter.is_alive() and not self._revivals):
                return ""
        if starter.is_alive():
            return _REVIVING
        now = time.monotonic()
        self._revivals = [when for when in self._revivals if now - when < _REVIVAL_SECONDS]
        if len(self._revivals) < _REVIVALS:
            self._revivals.append(now)
            self.start()
            return _REVIVING
        error = self.error or ServerStartError(
            f"The local Prefect server has ended {_REVIVALS + 1} times within {_REVIVAL_SECONDS / 60:.0f} minutes. Its "
            f"log, {lease.address.log}, may say why."
        )
        for run in self.jobs:
            # What runs in threads of the kernel does so without Prefect; all else would wait in vain.
            if not run.state.is_done and not run.state.counts.running:
                run.crash(error)
        return f"its local server has ended, and is not started again before the next job: {str(error).splitlines()[0]}"

    def _let_go(self) -> None:
        with self._lock:
            lease, self.lease = self.lease, None
        client = sys.modules.get("nbfutures.prefect.shared_client")
        if client is not None:
            client.close_client()
        for name in _WARM:
            module = sys.modules.get(name)
            if module is not None:
                module.close()
        if lease is not None:
            lease.release()
        self._settings.restore()

    def _start(self, closing: threading.Event, leaver: threading.Thread | None) -> None:
        if leaver is not None:
            # It gives back what a start that was closed meanwhile has taken: not what this one takes.
            leaver.join()
        error: Exception | None = None
        try:
            self._connect(closing)
            # The first job would make it otherwise. It needs what the settings say by now, so in a fresh context.
            Context().run(importlib.import_module("nbfutures.prefect.shared_client").warm_client)
        except Exception as caught:
            error = caught
        finally:
            if closing.is_set():
                self._let_go()
            with self._lock:
                # Where it was closed, a later start may be under way, which says by itself how it went.
                if self._starter is None or self._starter is threading.current_thread():
                    self.error = error
                    self.ready.set()

    def _connect(self, closing: threading.Event) -> None:
        # Before Prefect is imported, since that is when it reads how it is to log.
        self._settings.apply()
        url = configured_api_url() if self.lease is None else None
        if url is not None:
            keep_logging_apart()
            importlib.import_module("prefect")
            self._reach(url, closing)
            self._note_url(url)
            return
        lease = self._renew_lease()
        # The server takes its time to start: Prefect is imported meanwhile.
        keep_logging_apart()
        importlib.import_module("nbfutures.prefect.execution")
        try:
            lease.wait_until_ready(stop=closing)
        except ServerStartError:
            if lease.is_alive() or closing.is_set():
                raise
            # It may have been told to stop in the moment in which this kernel found it: one more.
            lease = self._renew_lease()
            lease.wait_until_ready(stop=closing)
        self._latest = lease
        self._settings.connect(lease.address, lease.state)
        self._note_url(lease.address.api_url)
        self._health_watch.start()

    def _note_url(self, url: str) -> None:
        before, self.api_url = self.api_url, url
        if before not in {None, url}:
            importlib.import_module("nbfutures.prefect.server.moved").renew_senders()

    def _renew_lease(self) -> ServerLease:
        if self.lease is not None:
            self.lease.release()
        self.lease = lease_server(previous=self._latest)
        return self.lease

    def _reach(self, url: str, closing: threading.Event) -> None:
        health = check_health(url, _REACH_SECONDS)
        for _ in range(_RECHECKS):
            if health.is_there:
                return
            if closing.wait(_RECHECK_SECONDS):
                break
            health = check_health(url, _REACH_SECONDS)
        if not health.is_there:
            raise ServerUnreachableError(
                f"The Prefect server at PREFECT_API_URL={url} does not answer ({health.detail}). Start it or correct "
                f"the URL; or unset PREFECT_API_URL and restart the kernel to use a local server. Then run job.retry()."
            )


_session: Session | None = None
_session_lock = threading.Lock()


def get_session() -> Session:
    """Return the kernel's session; made at the first call, which connects to nothing."""
    global _session  # noqa: PLW0603 - one for each kernel
    with _session_lock:
        if _session is None:
            _session = Session()
            atexit.register(_session.close, is_exit=True)
        return _session
