"""What happens: pure state machines and functions; no clock, thread, file or socket."""
