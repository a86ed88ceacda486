"""What damage and long runs do."""
