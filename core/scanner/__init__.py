"""Host in, observations out; and what they mean. Knows no SQL."""
