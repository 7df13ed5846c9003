"""The live conversation's timing, on a clock and devices that are made up: hours in seconds, and always the same."""
