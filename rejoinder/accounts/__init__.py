"""Who may use the engine."""
