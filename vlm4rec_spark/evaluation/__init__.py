"""Every arm on the same users, candidates and masks: lists, metrics, intervals, a report."""
