"""Where records lie between steps: bytes, keys, offsets; no meaning."""
