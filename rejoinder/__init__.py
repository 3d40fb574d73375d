"""The product: composition root, commands, page; imported by nobody."""

__version__ = "0.1.0"
