"""Files of class names in the forms that circulate, parsed and never evaluated."""
