"""What there is: the index of parts, generated from the source."""
