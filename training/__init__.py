"""How the bundled demo model is made: python -m training. See README.md here."""
