"""The command line, `pymoshi`. Results go to stdout, everything else to stderr; a wrong request ends with code 2."""

from pymoshi.cli.app import main

__all__ = ["main"]
