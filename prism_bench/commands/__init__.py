"""Commands of ``prism-bench``, one thin file each; they may import everything."""
