"""Work on a store as a whole: verify, gc, usage, reports, explanations."""
