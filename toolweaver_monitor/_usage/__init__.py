"""What a call used: tokens, cost and model, read from its result. Prices are in `pricing`."""

from __future__ import annotations

from toolweaver_monitor._usage.counted_ids import id_of, is_counted, mark_counted
from toolweaver_monitor._usage.dict_results import (
    MESSAGES_KEY,
    RAW_KEY,
    apply_amounts,
    apply_dict,
    figure_keys,
    is_spending,
    read_into,
)
from toolweaver_monitor._usage.failures import apply_failure, can_tell_failure
from toolweaver_monitor._usage.fields import get_field, read_fields
from toolweaver_monitor._usage.handed_on import UsageInside, clear_usage
from toolweaver_monitor._usage.readers import MAX_ELEMENTS, answers_in, is_bare_usage, messages_in, reader_for
from toolweaver_monitor._usage.recorded import add_figures, record_figures
from toolweaver_monitor._usage.streams import StreamUsage
from toolweaver_monitor._usage.usage import Usage, apply_usage

__all__ = [
    "MAX_ELEMENTS", "MESSAGES_KEY", "RAW_KEY", "StreamUsage", "Usage", "UsageInside", "add_figures", "answers_in",
    "apply_amounts", "apply_dict", "apply_failure", "apply_usage", "can_tell_failure", "clear_usage", "figure_keys",
    "get_field", "id_of", "is_bare_usage", "is_counted", "is_spending", "mark_counted", "messages_in", "read_fields",
    "read_into", "reader_for", "record_figures",
]  # fmt: skip
