"""What every layer uses: data types, errors, the contract of an engine, files that survive a crash."""
