"""The engine against golden data of the reference implementation (tests/fixtures/README.md)."""
