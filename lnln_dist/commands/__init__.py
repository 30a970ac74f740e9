"""One module per verb: its options and nothing else; what it does lives elsewhere."""
