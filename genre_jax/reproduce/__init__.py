"""What a paper prints, run again: one file for each paper, and the program that runs them (__main__.py)."""
