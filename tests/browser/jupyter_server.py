"""A Jupyter server of its own for the browser: JupyterLab, Notebook 7 and Voila at one address."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import urllib.request

from tests.support import eventually

_CONFIG = {
    "LabApp": {"expose_app_in_browser": True, "news_url": None},
    "JupyterNotebookApp": {"expose_app_in_browser": True},
    "ServerApp": {"ip": "127.0.0.1", "port": 0, "open_browser": False, "allow_root": True},
}
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


class JupyterServer:
    """Runs until `close`; its users' settings, kernels and notebooks are in a folder of its own.

    Args:
        folder: An empty folder.
        environment: What the kernels find in their environment.
        base_url: Below which path it is.
    """

    def __init__(self, folder, environment, base_url="/"):
        self.notebooks = folder / "notebooks"
        self.kernels = folder / "data" / "kernels"
        self.older_ipykernel = folder / "ipykernel"
        self.gates = folder / "gates"
        self.token = secrets.token_hex(16)
        self._runtime = folder / "runtime"
        self._log = folder / "server.log"
        for made in (self.notebooks, self.kernels, self.gates, self._runtime, folder / "config" / "labconfig"):
            made.mkdir(parents=True)
        (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(_CONFIG))
        (folder / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))
        environment = {
            **environment,
            "JUPYTER_TOKEN": self.token,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    f"--ServerApp.root_dir={self.notebooks}",
                    f"--ServerApp.base_url={base_url}",
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self):
        """Block until it answers."""
        self.url = eventually(self._find_url, timeout=120)

    def address(self, path):
        """Return the address of a page, with what lets the browser in."""
        return f"{self.url}{path}{'&' if '?' in path else '?'}token={self.token}"

    def close(self):
        """End it and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(120)

    def _find_url(self):
        assert self._process.poll() is None, self._log.read_text()
        for file in self._runtime.glob(f"jpserver-{self._process.pid}.json"):
            try:
                url = json.loads(file.read_text())["url"]
                urllib.request.urlopen(f"{url}api?token={self.token}", timeout=5).close()
            except (OSError, ValueError):
                continue
            return url
        return None


def write_kernel(folder, name, **environment):
    """Write what the server has to know of a kernel: this Python, with some variables of its own."""
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / name).mkdir()
    (folder / name / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": name, "language": "python", "env": environment})
    )
