"""Where records lie between steps: bytes, keys, offsets; no meaning."""

from eventlog.opening import open_log

__all__ = ["open_log"]
