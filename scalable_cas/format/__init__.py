"""Bytes to structures and back: pure functions, no input or output. Specified in docs/reference/format-v1.md."""
