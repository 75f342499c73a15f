"""What a user would really pick instead: forests, support vectors, convolutional nets."""
