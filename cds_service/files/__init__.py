"""Read files: YAML with line numbers, data that travels with the program, templates of pages."""
