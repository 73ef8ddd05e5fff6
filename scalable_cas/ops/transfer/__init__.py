"""Push and pull: what is here and not there, and the reverse. See docs/reference/remote-layout-v1.md.

A remote is a folder of files that are written once. What it holds is known from its segments, of which the
store keeps a digested copy (`view`), so neither direction ever asks for one object after the other.
"""
