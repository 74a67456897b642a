// Accuracy by class of the two candidates, and what is taken for what.
