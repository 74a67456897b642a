"""Show: tables, plots and the page. Reads records only."""
