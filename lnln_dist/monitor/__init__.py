"""What a run tells about itself: TensorBoard events, JSON lines, progress, health."""
