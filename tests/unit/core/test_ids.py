"""Ids of calls: spread over 64 bits, and one to one with the serials that they are made from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor._core.ids import mix, unmix


@given(st.integers(1, 2**64 - 1))
def test_an_id_leads_back_to_its_serial(serial: int) -> None:
    """So a trace is found by the id that a log line has. Seen red: with one shift of the last step left out."""
    assert unmix(mix(serial)) == serial
