// Curves over epochs: a click chooses the epoch everywhere.
