"""How it is upgraded and mended."""
