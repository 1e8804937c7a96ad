"""Click commands, one file a family; they parse, call and print."""
