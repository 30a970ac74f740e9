"""What training costs before anything is trained: FLOPs and memory."""
