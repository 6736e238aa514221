"""Methods side by side: suites of runs, groups over seeds, tables with intervals and paired differences."""
