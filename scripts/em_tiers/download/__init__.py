"""Downloads of models, data sets and question files: pinned, resumed and verified."""
