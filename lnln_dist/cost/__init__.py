"""What training costs before anything is trained: FLOPs, memory, bytes on the wire."""
