"""Closed forms beside live simulations: small problems whose answer is known, to turn the knobs of.

A playground is one file: `KNOBS`, `simulate(**knobs)` (a tidy table, pure), `draw(table, theme)` and `answer(table)`.
"""
