"""The console's own index of the topics: which event stands where, by its ids."""
