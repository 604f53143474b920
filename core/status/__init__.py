"""What the public feed says, and its files."""
