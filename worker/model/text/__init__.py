"""What is done to a text before it is tokenised: the same in training and in service, named by the pack."""
