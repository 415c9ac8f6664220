"""OFRecord messages and part files, to and from bytes."""
