"""Where rows and looked-up features come from."""
