"""Limits on money, tokens and calls, checked before a tool runs."""

from __future__ import annotations

from toolweaver_monitor._budget.budget import Budget
from toolweaver_monitor._budget.ledger import BudgetStatus, Ledger

__all__ = ["Budget", "BudgetStatus", "Ledger"]
