"""`abinet read`: folders of crops to a table of texts. It needs the extra `batch`."""
