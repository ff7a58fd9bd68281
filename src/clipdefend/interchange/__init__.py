"""Results and evaluation sets in the forms that other people's tools read."""
