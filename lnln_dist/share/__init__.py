"""A trained model outside of its run: three lines of Python, one folder, one graph."""
