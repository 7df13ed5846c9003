"""What a conversation keeps to, however long it lasts and whatever is done with its state."""
