"""The ids of answers that calls of the current setup have counted.

A list of messages holds answers of earlier turns as well: of those, only the ones whose id no call has counted are new.
An answer that comes again as the very same object is known by `known_results`; this is for copies.
"""

from __future__ import annotations

from toolweaver_monitor._usage.boundaries import read_response_id
from toolweaver_monitor._usage.fields import has_none_of, read_fields

MAX_IDS = 10_000
MAX_ID_CHARS = 256

ID_KEYS = frozenset({"id", "run_id", "response_id", "responseId", "message", "response", "data"})
_counted: dict[str, None] = {}
"""The ids, the oldest first."""


def id_of(answer: object) -> str | None:
    """Return the id that an answer or a chunk tells, or None. Runs no code of its class."""
    fields = read_fields(answer)
    if fields is None or has_none_of(fields, ID_KEYS):
        return None
    found = read_response_id(fields)
    return found if found is not None and len(found) <= MAX_ID_CHARS else None


def is_counted(answer_id: str | None) -> bool:
    """Return whether a call of this setup has counted an answer of this id. No id is never counted."""
    return answer_id in _counted


def mark_counted(answer_id: str | None) -> None:
    """Remember that an answer of this id is counted. At the limit the oldest are forgotten."""
    if answer_id is None or answer_id in _counted:
        return
    if len(_counted) >= MAX_IDS:
        for oldest in list(_counted)[: MAX_IDS // 8]:
            _counted.pop(oldest, None)
    _counted[answer_id] = None


def forget_ids() -> None:
    """Forget all ids: another setup begins."""
    _counted.clear()
