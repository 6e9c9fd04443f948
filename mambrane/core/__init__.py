"""What every room needs: shapes, errors, random streams, state, events, device. Imports nothing of ours."""
