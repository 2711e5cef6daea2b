"""Converters: the tensors of one family of foreign networks, by their names, to our parameters."""
