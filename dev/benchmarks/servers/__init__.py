"""What the ingress is compared with: a bare HTTP server, and a bridge without a journal."""
