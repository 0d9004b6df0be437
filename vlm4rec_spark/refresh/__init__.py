"""Making only those profiles and lists anew that new events or items can change."""
