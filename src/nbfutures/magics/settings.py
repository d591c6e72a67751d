"""`%config NBFutures.workers = 4`: the session's defaults as an IPython configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Bool, Float, Int, TraitError, Unicode, Union, validate
from traitlets.config import Configurable

from nbfutures import api
from nbfutures.errors import InvalidOptionError
from nbfutures.magics.arguments import JOB_OPTIONS
from nbfutures.model.options import RUNNERS

if TYPE_CHECKING:
    from traitlets.config.loader import Config

__all__ = ["NBFutures"]

_HELP = {option.field: f"Default: {option.help}." for option in JOB_OPTIONS}


class NBFutures(Configurable):
    """Defaults of the options of all jobs in this session."""

    runner = Unicode(RUNNERS[0], help=_HELP["runner"]).tag(config=True)
    workers = Int(None, allow_none=True, help=_HELP["workers"]).tag(config=True)
    retries = Int(None, allow_none=True, help=_HELP["retries"]).tag(config=True)
    timeout = Float(None, allow_none=True, help=_HELP["timeout"]).tag(config=True)
    batch = Union([Int(), Unicode()], default_value="auto", help=_HELP["batch"]).tag(config=True)
    rate = Float(None, allow_none=True, help=_HELP["rate"]).tag(config=True)
    in_flight = Int(None, allow_none=True, help=_HELP["in_flight"]).tag(config=True)
    fail_fast = Bool(False, help=_HELP["fail_fast"]).tag(config=True)

    def refresh(self) -> None:
        """Show the session's defaults, which `%runner` and Python can change as well."""
        defaults = api.session_defaults()
        for name in self.trait_names(config=True):
            setattr(self, name, getattr(defaults, name))

    def update_config(self, config: Config) -> None:
        """Take values from a configuration; if one is refused, say so in a line and keep what was."""
        before = self.config
        try:
            super().update_config(config)
            # traitlets hands on what is new in the configuration, but the session may have changed otherwise since.
            for name, value in config.get(type(self).__name__, {}).items():
                setattr(self, name, value)
        except TraitError as error:
            # traitlets would keep the value that it refused, and complain about it at every later change.
            self.config = before
            # `%config` logs what is raised, which in a notebook may go anywhere.
            if self.parent is None:
                raise
            self.parent.show_usage_error(error)

    @validate("runner", "workers", "retries", "timeout", "batch", "rate", "in_flight", "fail_fast")
    def _hand_on(self, proposal: dict[str, Any]) -> Any:
        # Not in an observer, for the same reason: a value that is not new here can be new to the session.
        try:
            api.set_session_defaults(api.session_defaults().replace(**{proposal["trait"].name: proposal["value"]}))
        except InvalidOptionError as error:
            raise TraitError(str(error)) from error
        return proposal["value"]
