"""What ties this package to the released LNLN code: its checkpoints and its evaluation noise."""
