"""What KeyChest knows and does: no web, no queue, no command line."""
