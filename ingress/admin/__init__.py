"""What an operator may do to a journal, with a running ingress or without one."""
