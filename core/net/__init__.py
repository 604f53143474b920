"""The only place that opens a socket to an address that users or strangers supply."""
