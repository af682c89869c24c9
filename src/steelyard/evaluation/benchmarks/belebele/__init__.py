"""Belebele: reading comprehension in 122 language variants."""
