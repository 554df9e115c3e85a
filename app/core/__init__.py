"""What the service knows of speech; nothing of HTTP."""
