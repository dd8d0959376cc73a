"""Plots as inline SVG, made on the server: no library, no script, no colour in the markup.

Colours are classes of the style sheet, so that a plot follows the reader's light or dark.
What colour says, a shape or a word says too.
"""
