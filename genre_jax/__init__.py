"""Training, fine-tuning and honestly evaluating music genre, subgenre and raag classifiers."""
