"""How it is wired: the only code that knows Bytewax."""
