"""A small language model of our own: its text, its training, its file and its score."""
