"""Limits on money, tokens and calls, checked before a tool runs."""

from __future__ import annotations

from toolweaver_monitor._budget.budget import Budget, BudgetStatus
from toolweaver_monitor._budget.handles import BudgetHandle
from toolweaver_monitor._budget.ledger import Ledger

__all__ = ["Budget", "BudgetHandle", "BudgetStatus", "Ledger"]
