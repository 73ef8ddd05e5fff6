"""Keys: from a call to its 32-byte call key. The recipe is specified in docs/reference/key-v1.md.

``call.py`` binds a call and hashes it; ``encode.py`` turns one value into canonical bytes; the other modules
say what a type's parts are. Nothing is imported from here: name the module.
"""
