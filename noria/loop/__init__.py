"""The loop: observe, decide, persist, act. Pure at its heart; the world is behind ports."""
