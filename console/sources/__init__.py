"""What the console reads from elsewhere: private listeners, journals, the consumers' databases."""
