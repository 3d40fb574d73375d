"""Where records lie between steps: bytes, keys, offsets; no meaning."""

from eventlog.opening import START_S, open_log

__all__ = ["START_S", "open_log"]
