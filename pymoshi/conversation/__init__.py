"""Live conversations: the real-time loop, its events, and `Conversation`, which puts them together."""
