"""Reports on both sides: DiagnosticReports as SR and PDF objects, and such objects as reports."""
