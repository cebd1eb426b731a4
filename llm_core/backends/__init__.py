"""Where tokens come from. One backend so far: `local`, the engine in this process."""
