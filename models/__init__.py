"""Who listens, reads and writes: models behind operators.ports, loaded on first use."""
