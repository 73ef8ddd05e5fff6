"""This machine: files, the index, the journal, locks. Moves bytes; parses no value."""
