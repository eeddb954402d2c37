"""The subcommands of `isocentre`, one module a subject; `fhir_server.cli` loads them as needed."""
