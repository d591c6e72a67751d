"""The secret of the local server, handed to whom it is for without the environment, which any program may print.

In this process it is in Prefect's settings. Processes that are started from here read it from a profiles file of
Prefect's that is for this user alone; workers elsewhere get it with their task runs, as all settings.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import prefect.context
from prefect.context import SettingsContext, get_settings_context
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_PROFILES_PATH,
    ProfilesCollection,
    load_profiles,
    save_profiles,
    temporary_settings,
)
from pydantic import SecretStr

from nbfutures.prefect.server.server_state import is_own_auth, profiles_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["give_back", "keep_secret", "private_settings", "write_profiles"]


class _PrivateSettings(SettingsContext):
    """Settings whose secret Prefect does not write into the environment of what it starts.

    It writes there what is set; the secret is not among that, but is sent to workers all the same.
    """

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        made = super().serialize(include_secrets=include_secrets)
        secret = self.settings.api.auth_string
        if secret is not None:
            made["settings"].setdefault("api", {})["auth_string"] = secret.get_secret_value()
        return made


def _private(context: SettingsContext, auth: SecretStr) -> _PrivateSettings:
    api = context.settings.api.model_copy(update={"auth_string": auth})
    api.model_fields_set.discard("auth_string")
    return _PrivateSettings(profile=context.profile, settings=context.settings.model_copy(update={"api": api}))


def keep_secret(auth: str | None = None) -> None:
    """Have the local server's secret be in the settings of this process, and not in the environment of any other.

    Args:
        auth: The secret. If not given, the one of the settings, where they have one of a local server.
    """
    context = prefect.context.GLOBAL_SETTINGS_CONTEXT
    known = context.settings.api.auth_string
    if auth is None and known is not None and is_own_auth(known.get_secret_value()):
        auth = known.get_secret_value()
    if auth is not None:
        prefect.context.GLOBAL_SETTINGS_CONTEXT = _private(context, SecretStr(auth))


@contextmanager
def private_settings() -> Iterator[None]:
    """Within it, what Prefect starts does not have the local server's secret in its environment.

    For where the settings were read anew: by `temporary_settings`, or in a worker.
    """
    context = get_settings_context()
    auth = context.settings.api.auth_string
    if auth is None or not is_own_auth(auth.get_secret_value()) or isinstance(context, _PrivateSettings):
        yield
        return
    with _private(context, auth):
        yield


def write_profiles(state: Path, auth: str) -> Path:
    """Write the user's profiles with the secret in each, for `PREFECT_PROFILES_PATH`, and return the file.

    It is kept until a server with another secret starts: processes may outlive the kernel that started them.

    Args:
        state: The state directory.
        auth: The secret.
    """
    profiles = load_profiles()
    for name in list(profiles.names):
        profiles.update_profile(name, {PREFECT_API_AUTH_STRING: auth})
    file = profiles_directory(state) / f"{_digest(profiles)}.toml"
    if not file.exists():
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        _save(profiles, file)
    return file


def give_back(file: Path) -> None:
    """Have the user's own profiles say what was changed in those with the secret, as by `prefect config set`.

    Args:
        file: What `write_profiles` has returned; by now, Prefect's settings are the user's again.
    """
    with temporary_settings({PREFECT_PROFILES_PATH: file}):
        profiles = load_profiles()
    if not file.exists() or _digest(profiles) == file.stem:
        return
    for name in list(profiles.names):
        if is_own_auth(str(profiles[name].to_environment_variables().get("PREFECT_API_AUTH_STRING", ""))):
            profiles.update_profile(name, {PREFECT_API_AUTH_STRING: None})
    save_profiles(profiles)


def _save(profiles: ProfilesCollection, file: Path) -> None:
    with temporary_settings({PREFECT_PROFILES_PATH: file}):
        save_profiles(profiles)


def _digest(profiles: ProfilesCollection) -> str:
    text = json.dumps(profiles.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
