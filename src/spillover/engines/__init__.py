"""Where work runs. Here is in this process, on this machine."""
