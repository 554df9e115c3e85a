"""Speed, memory and accuracy, each with a command."""
