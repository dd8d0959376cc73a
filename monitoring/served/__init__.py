"""Keeps rows that got their label as a table to train on; ``noria.served`` has its files.

``keeping`` says what is kept, ``joined`` takes rows as they get their labels, in the processor's
own transaction, and ``writer`` moves them from there to the table.
"""
