"""Read files: YAML with line numbers, data that comes with the program, templates of pages."""
