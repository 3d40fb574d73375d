"""Lets ``python -m rejoinder`` work like the command."""

from rejoinder.cli import app

app()
