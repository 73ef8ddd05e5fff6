"""The command line: one module a command. The only package that knows click. See docs/reference/cli.md."""
