"""Client releases on the client: fetched, verified, installed, tried, committed or rolled back."""
