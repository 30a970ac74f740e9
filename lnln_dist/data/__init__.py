"""Feature files in, Arrow shards in between, batches with noise out."""
