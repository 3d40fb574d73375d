"""The door: publish in, tail out; no model, no dataflow, no SQL."""
