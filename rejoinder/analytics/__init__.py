"""Analytics: every topic as a star schema in DuckDB, the views over it, and what asks them."""
