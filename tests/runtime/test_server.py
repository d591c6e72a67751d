"""The local server: real processes, and a real Prefect server where its behaviour matters."""

import contextlib
import datetime as dt
import http.server
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

import psutil
import pytest
from tests.support import eventually, holds_for

from nbfutures.engine.process_lock import ProcessLock, is_held
from nbfutures.errors import ServerStartError
from nbfutures.prefect.server import lease as server
from nbfutures.prefect.server.health import authorization
from nbfutures.prefect.server.lease import ServerLease, check_health, lease_server, server_state
from nbfutures.prefect.server.orphaned_runs import open_runs, tell_crashed
from nbfutures.prefect.server.supervisor import server_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no local server on Windows")

START = 170.0  # seconds; the first start on a busy machine

KERNEL = """
import sys, time
from pathlib import Path
from nbfutures.prefect.server.lease import lease_server
print("imported", flush=True)
sys.stdin.readline()
began = time.perf_counter()
lease = lease_server(Path(sys.argv[1]))
print(lease.address.api_url, time.perf_counter() - began, flush=True)
while True:
    try:
        sys.stdin.readline() or sys.exit()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


class Kernel:
    """A process that leases the server when told to, and survives an interrupt, as a notebook kernel does."""

    def __init__(self, home):
        self.process = subprocess.Popen(
            [sys.executable, "-c", KERNEL, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read(self):
        return self.process.stdout.readline().strip()

    def say(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.communicate()


def processes(home):
    """The supervisors and servers of this home, as psutil processes."""
    return [process for process, _ in _with_commands(home)]


def supervisors(home):
    return [process for process, command in _with_commands(home) if "--serve" not in command]


def servers(home):
    return [process for process, command in _with_commands(home) if "--serve" in command]


def _with_commands(home):
    found = []
    state = str(server_state.state_directory(home))
    for process in psutil.process_iter():
        # One may end while it is asked.
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "nbfutures.prefect.server.supervisor" in command and (
                state in command or process.environ().get("PREFECT_HOME", "").startswith(state)
            ):
                found.append((process, command))
    return found


def ask(address, path, *, auth=None):
    """The status and the JSON that the API answers."""
    request = urllib.request.Request(address.api_url + path, headers=authorization(auth) if auth else {})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def send_task_runs(address, count):
    """Report completed task runs as Prefect's client does: as events, which the server records in its own time."""
    now = dt.datetime.now(dt.UTC).isoformat()
    events = [
        {
            "id": str(uuid.uuid4()),
            "occurred": now,
            "event": "prefect.task-run.Completed",
            "resource": {"prefect.resource.id": f"prefect.task-run.{uuid.uuid4()}", "prefect.orchestration": "client"},
            "payload": {
                "validated_state": {"type": "COMPLETED", "name": "Completed"},
                "task_run": {"name": "t", "task_key": "t", "dynamic_key": str(number)},
            },
        }
        for number in range(count)
    ]
    headers = {**authorization(address.auth), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{address.api_url}/events", json.dumps(events).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        assert response.status == 204


def recorded(home):
    """The number of task runs in the database."""
    file = server_state.database_file(server_state.state_directory(home))
    with contextlib.closing(sqlite3.connect(file)) as database:
        return database.execute("select count(*) from task_run").fetchone()[0]


@pytest.fixture(scope="module", autouse=True)
def environment():
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("PREFECT_"):
                patch.delenv(name)
        patch.setenv("NBFUTURES_SERVER_GRACE", "0.2")
        # Every notebook kernel sets these, and Prefect's command line asks questions where there are colours.
        patch.setenv("FORCE_COLOR", "1")
        patch.setenv("CLICOLOR_FORCE", "1")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose servers need no first start but one; whatever runs in it is ended with the module."""
    home = tmp_path_factory.mktemp("a home with spaces")
    yield home
    for process in supervisors(home):
        process.terminate()
    eventually(lambda: not processes(home))


class Shared:
    """One server, started by two kernels at the same moment; started again if a test has ended it."""

    def __init__(self, home):
        self.home = home
        self.lease = None

    def start(self):
        self.kernels = [Kernel(self.home) for _ in range(2)]
        assert [kernel.read() for kernel in self.kernels] == ["imported"] * 2
        for kernel in self.kernels:
            kernel.say()
        answers = [kernel.read().split() for kernel in self.kernels]
        self.urls = [url for url, _ in answers]
        self.seconds_to_lease = max(float(seconds) for _, seconds in answers)
        self.lease = lease_server(self.home)  # the third: one of the kernels has started the server
        self.health_after_lease = check_health(self.lease.address.api_url, 1.0)
        self.lease.wait_until_ready(START)

    def stop(self):
        if self.lease is not None:
            self.lease.release()
            for kernel in self.kernels:
                kernel.kill()


@pytest.fixture(scope="module")
def holder(home):
    holder = Shared(home)
    yield holder
    holder.stop()


@pytest.fixture
def shared(holder):
    if holder.lease is None or not holder.lease.is_alive():
        holder.start()
    return holder


@pytest.fixture(scope="module")
def failure(tmp_path_factory):
    """A start that cannot succeed: its home, its error and the seconds until it was raised."""
    home = tmp_path_factory.mktemp("broken")
    log = server_state.open_state_directory(home) / "server.log"
    log.write_text("old news\n" * 1_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////proc/no/such/place/prefect.db")
        with lease_server(home) as lease:
            began = time.perf_counter()
            with pytest.raises(ServerStartError) as caught:
                lease.wait_until_ready(START)
            return home, log, str(caught.value), time.perf_counter() - began


def imaginary(tmp_path, port=1, **changes):
    """A lease on a server that is believed to live: its supervisor's lock is held by this test."""
    state = server_state.open_state_directory(tmp_path)
    log = state / "server.log"
    values = {
        "id": "test",
        "pid": os.getpid(),
        "port": port,
        "api_url": f"http://127.0.0.1:{port}/api",
        "ui_url": f"http://127.0.0.1:{port}/",
        "auth": "user:secret",
        "log": str(log),
        "log_start": 0,
        "loopback": server_state.loopback_identity(),
    }
    record = server_state.ServerRecord(**values | changes)
    server_state.write_record(state, record)
    lock = ProcessLock.acquire(server_state.supervisor_lock(state, "test"))
    path = server_state.leases_directory(state) / "test-lease"
    return ServerLease(state, record, ProcessLock.acquire(path), path), lock


# --- leases -------------------------------------------------------------------------------------------------------


def test_a_lease_is_there_before_the_server_answers(shared):
    assert shared.seconds_to_lease < 0.3
    assert not shared.health_after_lease.ok
    assert check_health(shared.lease.address.api_url, 5.0).ok


def test_kernels_that_start_at_the_same_moment_share_one_server(shared):
    assert shared.urls == [shared.lease.address.api_url] * 2
    assert len(supervisors(shared.home)) == 1
    assert len(servers(shared.home)) == 1


def test_the_api_lets_in_who_knows_the_secret_and_nobody_else(shared):
    address = shared.lease.address
    assert ask(address, "/admin/version")[0] == 401
    assert ask(address, "/admin/version", auth="nbfutures:guess")[0] == 401
    assert ask(address, "/admin/version", auth=address.auth)[0] == 200


def test_the_secret_is_on_no_command_line_and_in_no_file_of_others(shared):
    secret = shared.lease.address.auth.split(":")[1]
    for process in processes(shared.home):
        assert secret not in " ".join(process.cmdline())
    state = server_state.state_directory(shared.home)
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "server.json").stat().st_mode & 0o777 == 0o600
    assert secret not in shared.lease.address.log.read_text()


def test_the_server_reports_to_nobody_and_is_tuned_for_fan_outs(shared):
    settings = ask(shared.lease.address, "/admin/settings", auth=shared.lease.address.auth)[1]["server"]
    assert settings["analytics_enabled"] is False
    assert settings["ui"]["v2_enabled"] is False
    assert settings["api"]["host"] == "127.0.0.1"
    assert settings["services"]["task_run_recorder"]["batch_size"] == 200
    assert settings["services"]["triggers"]["enabled"] is False
    assert settings["services"]["scheduler"]["enabled"] is True
    assert servers(shared.home)[0].environ()["DO_NOT_TRACK"] == "1"


def test_an_interrupt_of_the_kernels_whole_process_group_does_not_reach_the_server(shared):
    for kernel in shared.kernels:  # one of them has started the server
        os.killpg(kernel.process.pid, signal.SIGINT)
        assert kernel.read() == "interrupted"
    assert holds_for(lambda: check_health(shared.lease.address.api_url, 5.0).ok, 2.0, interval=0.2)


def test_the_server_outlives_a_killed_kernel_and_ends_after_the_last_with_all_recorded(shared):
    shared.lease.release()
    first, last = shared.kernels
    first.kill()
    assert holds_for(shared.lease.is_alive, 2.0)
    assert check_health(shared.lease.address.api_url, 5.0).ok
    before = recorded(shared.home)
    send_task_runs(shared.lease.address, 2000)
    last.kill()
    eventually(lambda: not shared.lease.is_alive(), 80)
    eventually(lambda: not processes(shared.home))
    assert recorded(shared.home) - before == 2000


def test_a_taken_port_is_given_up_for_another_and_all_is_gone_after_the_last_release(home, monkeypatch):
    eventually(lambda: not processes(home), 60)
    with socket.create_server(("127.0.0.1", 0)) as thief:
        taken = thief.getsockname()[1]
        monkeypatch.setattr(server_state, "free_port", lambda: taken)
        lease = lease_server(home)
        assert lease.address.api_url == f"http://127.0.0.1:{taken}/api"
        lease.wait_until_ready(START)
    assert lease.address.api_url != f"http://127.0.0.1:{taken}/api"
    assert ask(lease.address, "/admin/version", auth=lease.address.auth)[0] == 200

    second = lease_server(home)
    lease.release()
    lease.release()
    assert holds_for(lease.is_alive, 1.5)
    second.release()
    eventually(lambda: not second.is_alive())
    eventually(lambda: not processes(home))
    port = int(lease.address.api_url.split(":")[2].split("/")[0])
    assert server_state.port_is_free(port)
    state = server_state.state_directory(home)
    assert not (state / "server.json").exists()
    assert not list(state.glob("supervisor-*"))
    assert not list(server_state.leases_directory(state).iterdir())


def test_a_killed_supervisor_takes_its_server_along_and_the_next_lease_starts_another(home):
    eventually(lambda: not processes(home), 60)
    with lease_server(home) as lease:
        lease.wait_until_ready(START)
        supervisors(home)[0].kill()
        eventually(lambda: not lease.is_alive())
        eventually(lambda: not servers(home))
        with lease_server(home) as another:
            assert another.is_alive()
            assert another.address.auth != lease.address.auth
            # And one whose server is killed is not waited for.
            eventually(lambda: servers(home))[0].kill()
            with pytest.raises(ServerStartError, match="it ended"):
                another.wait_until_ready(START)
            assert not another.is_alive()
            assert "ended before it answered" in another.address.log.read_text()


@pytest.mark.parametrize("is_taken", [False, True], ids=["free", "taken"])
def test_a_server_that_takes_the_place_of_another_is_at_its_address_if_nobody_else_is(home, is_taken):
    eventually(lambda: not processes(home), 60)
    with lease_server(home) as lease, socket.socket() as other:
        lease.wait_until_ready(START)
        supervisors(home)[0].kill()
        eventually(lambda: not servers(home))
        if is_taken:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((server_state.LOOPBACK, lease.record.port))
            other.listen()
        with lease_server(home, previous=lease) as another:
            another.wait_until_ready(START)
            # Who listens there may have been told the secret.
            assert (another.address.api_url == lease.address.api_url) is not is_taken
            assert (another.address.auth == lease.address.auth) is not is_taken


def test_a_supervisor_that_is_told_to_stop_ends_the_server_while_it_is_leased(home):
    eventually(lambda: not processes(home), 60)
    with lease_server(home) as lease:
        eventually(lambda: servers(home))
        supervisors(home)[0].terminate()
        eventually(lambda: not processes(home))
        assert not lease.is_alive()
        assert not (server_state.state_directory(home) / "server.json").exists()
        assert "was told to stop" in lease.address.log.read_text()


# --- starts that fail ---------------------------------------------------------------------------------------------


def test_a_start_that_fails_names_the_log_and_the_cause_without_waiting(failure):
    home, log, message, seconds = failure
    assert str(log) in message
    assert "unable to open database file" in message
    assert "site-packages" not in message
    assert "PREFECT_API_URL" in message
    assert seconds < START / 2
    eventually(lambda: not processes(home))


def test_a_large_log_is_put_aside_at_the_start_and_not_quoted(failure):
    _, log, message, _ = failure
    assert log.with_name("server.log.1").stat().st_size > 5_000_000
    assert log.stat().st_size < 1_000_000
    assert "old news" not in message


def test_a_server_that_never_answers_is_given_up_at_the_timeout(tmp_path):
    before = "trouble of the run before\n"
    lease, lock = imaginary(tmp_path, log_start=len(before))
    lease.address.log.write_text(f"{before}\nCheck out the dashboard\nsomething odd\n")
    with pytest.raises(ServerStartError, match="does not answer") as caught:
        lease.wait_until_ready(0.2)
    assert "ends with:\n    something odd\nLook" in str(caught.value)
    assert lease.is_alive()
    lock.close()
    assert not lease.is_alive()


def test_waiting_ends_when_it_is_told_to(tmp_path):
    lease, _lock = imaginary(tmp_path)
    stop = threading.Event()
    stop.set()
    with pytest.raises(ServerStartError, match="no longer waited for"):
        lease.wait_until_ready(START, stop)


def test_another_program_on_the_port_is_not_taken_for_the_server(tmp_path):
    with answering(lambda path: (200 if path == "/api/health" else 404, "true")) as port:
        lease, _lock = imaginary(tmp_path, port=port)
        with pytest.raises(ServerStartError, match="does not answer"):
            lease.wait_until_ready(0.5)


def test_a_server_of_another_machine_is_not_leased(tmp_path):
    _lease, _lock = imaginary(tmp_path, loopback="elsewhere")
    with pytest.raises(ServerStartError, match="NBFUTURES_HOME"):
        lease_server(tmp_path)


def test_a_home_that_cannot_be_written_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ServerStartError, match=r"file/prefect-.* NBFUTURES_HOME"):
        lease_server(tmp_path / "file")


# --- state and locks ----------------------------------------------------------------------------------------------


def test_each_version_of_prefect_has_its_state_below_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("NBFUTURES_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.version", lambda _: "3.99")
    assert server_state.state_directory() == tmp_path / "prefect-3.99"
    monkeypatch.delenv("NBFUTURES_HOME")
    assert server_state.state_directory().parent.name == "nbfutures"


def test_a_lock_is_free_when_its_process_was_killed_though_a_forked_child_lives(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from nbfutures.engine.process_lock import ProcessLock
lock = ProcessLock.acquire(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    signal.pause()
print(child, flush=True)
signal.pause()
"""
    path = tmp_path / "lock"
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        assert is_held(path)
        assert ProcessLock.acquire(path) is None
        parent.kill()
        parent.wait()
        assert psutil.pid_exists(child)
        eventually(lambda: not is_held(path))
    finally:
        os.kill(child, signal.SIGKILL)
        parent.communicate()


def test_a_forked_child_that_exits_does_not_free_the_lease_of_its_parent(tmp_path):
    lease, _lock = imaginary(tmp_path)
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0)
    os.waitpid(child, 0)
    state = server_state.state_directory(tmp_path)
    assert server_state.has_leases(state, "test")
    lease.release()
    assert not server_state.has_leases(state, "test")


def test_the_lease_of_a_dead_process_is_none_and_is_swept_away(tmp_path):
    lease, _lock = imaginary(tmp_path)
    state = server_state.state_directory(tmp_path)
    (server_state.leases_directory(state) / "other-1234-dead").touch()
    assert not server_state.has_leases(state, "other")
    tell_crashed(state, lease.record)
    assert server_state.has_leases(state, "test")
    assert len(list(server_state.leases_directory(state).iterdir())) == 1


def test_flow_runs_that_were_begun_and_have_not_ended_are_open():
    assert open_runs([]) == []
    assert open_runs(["+a", "+b", "-a", "+c", "-d", "+b"]) == ["b", "c"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"id": 1}'])
def test_a_record_that_makes_no_sense_counts_as_none(tmp_path, content):
    (tmp_path / "server.json").write_text(content)
    assert server_state.read_record(tmp_path) is None


def test_tuning_yields_to_the_users_environment_and_protection_does_not(tmp_path):
    lease, _lock = imaginary(tmp_path)
    record = lease.record
    untouched = server_environment(tmp_path, record, {"PATH": "/bin", "PREFECT_API_URL": "http://else/api"})
    assert untouched["PATH"] == "/bin"
    assert "PREFECT_API_URL" not in untouched
    assert untouched["PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED"] == "false"
    assert untouched["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith(str(tmp_path / "prefect.db"))
    theirs = {
        "PREFECT_API_SERVICES_TRIGGERS_ENABLED": "true",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "7",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "PREFECT_SERVER_API_AUTH_STRING": "open:door",
        "PREFECT_SERVER_API_HOST": "0.0.0.0",
        "PREFECT_PROFILE": "cloud",
    }
    made = server_environment(tmp_path, record, theirs)
    assert made["PREFECT_API_SERVICES_TRIGGERS_ENABLED"] == "true"
    assert "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED" not in made
    assert made["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE"] == "7"
    assert made["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    # Neither theirs nor ours, which the server reads from the record.
    assert "PREFECT_SERVER_API_AUTH_STRING" not in made
    assert made["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert "PREFECT_PROFILE" not in made


def test_leasing_does_not_import_prefect():
    code = "import sys; from nbfutures.prefect.server import lease, supervisor; sys.exit('prefect' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- health -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(answer):
    """A web server on loopback; `answer` turns a path into a status and a body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answer(self.path)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield web.server_address[1]
        web.shutdown()
        thread.join()


@pytest.mark.parametrize("prefix", ["", "/user/ada/proxy"])
def test_health_is_asked_below_the_path_of_the_api(prefix):
    asked = []
    with answering(lambda path: asked.append(path) or (200, "true")) as port:
        for end in ("/api", "/api/"):
            assert check_health(f"http://127.0.0.1:{port}{prefix}{end}", 5.0) == server.Health(True, 200, "true")
    assert asked == [f"{prefix}/api/health"] * 2


def test_health_tells_what_status_came_back():
    with answering(lambda _: (503, "later")) as port:
        health = check_health(f"http://127.0.0.1:{port}/api", 5.0)
    assert (health.ok, health.status) == (False, 503)


def test_health_does_not_follow_a_redirect():
    asked = []
    with answering(lambda path: asked.append(path) or (302, "/login")) as port:
        assert check_health(f"http://127.0.0.1:{port}/api", 5.0).status == 302
    assert asked == ["/api/health"]


def test_health_of_a_silent_server_is_known_at_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.perf_counter()
        health = check_health(f"http://127.0.0.1:{silent.getsockname()[1]}/api", 0.2)
    assert (health.ok, health.status) == (False, None)
    assert "timed out" in health.detail
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_health_where_nobody_listens_is_no_exception(scheme):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    health = check_health(f"{scheme}://127.0.0.1:{port}/api", 1.0)
    assert (health.ok, health.status) == (False, None)
    assert health.detail.startswith("[Errno")
    assert "refused" in health.detail


def test_https_to_a_server_without_it_is_no_exception():
    with answering(lambda _: (200, "true")) as port:
        assert not check_health(f"https://127.0.0.1:{port}/api", 5.0).ok


@pytest.mark.parametrize(
    "url", ["", "api", "file:///etc/passwd", "http://", "http://[::1", "http://h:port/api", "http://a b/api"]
)
def test_what_is_no_url_is_no_exception(url):
    health = check_health(url, 1.0)
    assert (health.ok, health.status) == (False, None)
    assert health.detail


def test_a_file_is_no_api(tmp_path):
    (tmp_path / "health").write_text("true")
    assert not check_health(f"file://localhost{tmp_path}", 1.0).ok


def test_health_is_asked_past_a_proxy_on_loopback_only(monkeypatch):
    asked = []
    with answering(lambda path: asked.append(path) or (200, "true")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert check_health("http://prefect.invalid/api", 5.0).ok
        assert not check_health("http://127.0.0.1:1/api", 5.0).ok
    assert asked == ["http://prefect.invalid/api/health"]
