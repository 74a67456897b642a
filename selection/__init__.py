"""Choose: measure candidates, rank them, search merges and seeds, submit."""
