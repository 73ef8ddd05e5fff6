"""The store as a whole: open and init, look up, load, save, publish. Keeps I1-I6; everything that users and
commands do goes through it.
"""
