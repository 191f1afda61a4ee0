"""The memory that this process holds, and the most that it held."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

MIB = 1024 * 1024


def peak_mib() -> float:
    """The largest resident size so far, in MiB."""
    status = Path("/proc/self/status")  # a child starts with its parent's ru_maxrss, and with a VmHWM of its own
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / MIB if sys.platform == "darwin" else found / 1024


def now_mib() -> float:
    """The resident size in MiB; where the system does not say, the largest so far."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_mib()
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
