"""Stop before the money is spent: `python -m examples.budget`."""

from toolweaver_monitor import Budget, BudgetExceeded, monitored, setup

monitor = setup(budget=Budget(limit_usd=0.05, per="run"))


@monitored("ask_model", cost=0.02)
def ask_model(question: str) -> str:
    """Ask a model; each call costs two cents."""
    return f"an answer to {question!r}"


for number in range(1, 5):
    try:
        print(ask_model(f"question {number}"))
    except BudgetExceeded as error:
        print(f"refused: {error.hint}")

print(f"spent: ${monitor.summary()['total_cost_usd']:.2f}")
