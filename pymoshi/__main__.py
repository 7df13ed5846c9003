"""`python -m pymoshi` is the command `pymoshi`."""

from pymoshi.cli import main

if __name__ == "__main__":
    main()
