"""Data as people have it: where its files lie, what they hold, and which form its rows have."""
