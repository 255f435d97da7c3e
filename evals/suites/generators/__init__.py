"""What writes the items of each suite, from a seed."""
