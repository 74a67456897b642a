// The leaderboard: choosing A and B, folding seeds, copying the table.
