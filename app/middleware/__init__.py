"""Pure ASGI middleware: what holds for every request, whatever route it takes."""
