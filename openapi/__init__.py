"""The OpenAPI documents of the HTTP interfaces, written from the tables that route requests."""
