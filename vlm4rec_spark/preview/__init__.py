"""A small web page that shows the lists and what they were made from; reads, never writes."""
