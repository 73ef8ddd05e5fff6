"""Bytes to structures and back: pure functions, no input or output. docs/reference/format-v1.md has the
bytes.
"""
