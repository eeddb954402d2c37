"""Demo organisations, people and studies, and the scripts that play a workflow."""
