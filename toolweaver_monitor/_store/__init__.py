"""One file that outlives the process: every call a row, every question answered from roll-ups."""
