"""PostgreSQL: the one that runs itself, the pool, and how questions gather into a statement."""
