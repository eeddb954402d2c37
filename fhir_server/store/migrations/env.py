"""Alembic's environment: run by `schema.migrate` with a connection it holds.

Each package that keeps tables of its own adds one revision file to ``versions/``, named
``NNNN_package.py``, with ``down_revision = "0001"`` for its first revision and
``branch_labels = ("package",)``; its later revisions follow its own. All branches are taken
to their heads, so packages do not wait for each other's numbers. A revision holds its DDL as
text, so that it says the same for ever whatever becomes of the SQLModel classes.
"""

from alembic import context

# The proxy has a configuration only while Alembic runs this file; to import it does nothing.
if hasattr(context, "config"):
    context.configure(connection=context.config.attributes["connection"])
    with context.begin_transaction():
        context.run_migrations()
