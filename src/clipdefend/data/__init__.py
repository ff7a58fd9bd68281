"""Reading image-caption pairs and labelled images of any size, from files that nobody vouches for."""
