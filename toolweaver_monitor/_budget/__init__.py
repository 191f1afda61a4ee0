"""How much may be spent? Limits on money, tokens and calls, asked before a tool runs."""

from __future__ import annotations

from toolweaver_monitor._budget.budget import Budget
from toolweaver_monitor._budget.ledger import BudgetStatus, Ledger
from toolweaver_monitor._budget.meter import Admission

__all__ = ["Admission", "Budget", "BudgetStatus", "Ledger"]
