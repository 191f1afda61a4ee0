"""What a notebook shows of a monitor."""

from __future__ import annotations

from toolweaver_monitor import Budget, setup, track


def test_a_notebook_shows_totals_budgets_and_tools() -> None:
    """Unknown costs are no zeros, and names are text. Seen red: with `$0.0000` for a tool without a cost."""
    with setup(budget=Budget(limit_usd=1.0, name="<b>")) as monitor:
        with track("notebook_priced") as call:
            call.record(cost=0.25)
        with track("notebook_<free>") as call:
            call.record(tokens=7)
        shown = monitor._repr_html_()
    assert "<p>2 calls, 0 failed, $0.2500, 1 of unknown cost</p>" in shown
    assert "<p>budget &lt;b&gt;: $0.75 left of $1.00</p>" in shown
    assert "notebook_&lt;free&gt;" in shown
    (row,) = [line for line in shown.splitlines() if "free" in line]
    assert row.endswith("<td>7</td><td>-</td></tr>")


def test_a_notebook_before_the_first_call() -> None:
    """It says so."""
    with setup() as monitor:
        assert monitor._repr_html_() == "<p>0 calls, 0 failed</p>\n<p>no calls yet</p>"
