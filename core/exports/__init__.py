"""Account bundles: written, read, checked; and the other lists that people bring."""
