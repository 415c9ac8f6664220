"""What the `flowdata` command does."""
