"""What a consumer's database holds besides its own tables, and how it is reached."""
