"""Images in, numbers out: the judges and the statistics. Knows nothing of the generator."""
