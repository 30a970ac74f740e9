"""What scores say: arithmetic over seeds and rates, intervals, tests, published numbers."""
