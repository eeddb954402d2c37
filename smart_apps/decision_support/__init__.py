"""Decision support for whoever is about to ask for imaging, as CDS Hooks has it."""
