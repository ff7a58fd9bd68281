"""The training core: one loop for victims and defences, with another objective and another set of pairs."""
