"""Side-by-side timings: medians of interleaved runs, printed as ratios."""
