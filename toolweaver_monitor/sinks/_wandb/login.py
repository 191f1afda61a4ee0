"""Whether W&B has what it needs to log in, found out without importing it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._wandb import internals
from toolweaver_monitor.sinks._wandb import run as runs

DEFAULT_HOST = "api.wandb.ai"
KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


def find_fault() -> SinkUnavailable | None:
    """Return why W&B will not take a run: it is not installed, or there is no key. None if it may.

    For the time before the first call, which imports W&B and asks it. So what only W&B can tell is no fault yet:
    settings in its files, a login of the program, a run that the program has.
    """
    if "wandb" not in sys.modules and not _is_installed():
        return runs.not_installed()
    if os.environ.get("WANDB_MODE") in runs.OFFLINE_MODES or any(os.environ.get(key) for key in KEY_VARIABLES):
        return None
    if internals.is_set_up() or any(file.exists() for file in _settings_files()) or _has_netrc_key():
        return None
    return internals.not_logged_in()


def _is_installed() -> bool:
    try:
        spec = importlib.util.find_spec("wandb")
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # a folder ./wandb of offline runs looks like a package


def _settings_files() -> list[Path]:
    config = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    return [_expand(config) / "settings", _expand(Path(os.environ.get("WANDB_DIR") or ".")) / "wandb" / "settings"]


def _has_netrc_key() -> bool:
    """Return whether there is a key for W&B's host in the file where `wandb login` keeps it; True if none can tell."""
    from netrc import NetrcParseError, netrc
    from urllib.parse import urlsplit

    host = urlsplit(os.environ.get("WANDB_BASE_URL", "")).netloc or DEFAULT_HOST
    given = os.environ.get("NETRC")
    for file in (_expand(Path(given)),) if given else (_expand(Path("~/.netrc")), _expand(Path("~/_netrc"))):
        try:
            if netrc(file).authenticators(host):
                return True
        except FileNotFoundError:
            continue
        except (OSError, NetrcParseError, UnicodeDecodeError):
            return True
    return False


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # this user has no home
        return path
