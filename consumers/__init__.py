"""The consumers that come with the bridge. None imports another."""
