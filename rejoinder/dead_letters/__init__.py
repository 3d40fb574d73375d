"""Dead letters: what flows could not read or process, looked at, put right and put back."""
