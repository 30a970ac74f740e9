"""From raw clips to features: label files, decoding, audio, faces, transcripts.

Needs the extra ``clips`` (PyAV, librosa, OpenCV, pysubs2); nothing here is imported without it.
"""
