"""Numbers as people read them: counts, times, sizes, shares."""


def count(number: float) -> str:
    """Write a number with three digits and a decimal prefix: 950, 12.3 k, 4.56 M, 1.20 P."""
    prefixes = ["", " k", " M", " G", " T", " P", " E", " Z"]
    while number >= 999.5 and len(prefixes) > 1:
        number /= 1000
        prefixes.pop(0)
    digits = 0 if prefixes[0] == "" or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f}{prefixes[0]}"


def duration(seconds: float) -> str:
    """Write a time in the two largest units that matter: 0.31 s, 12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(round(seconds / 60), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{hours} h {minutes_left:02} min"


def memory(size: int) -> str:
    """Write a size in bytes as MiB or GiB."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def times(ratio: float) -> str:
    """Write a ratio, as far as anyone would believe it: 0.31, 12.50, > 100."""
    return "< 0.01" if ratio < 0.01 else "> 100" if ratio > 100 else f"{ratio:.2f}"


def share(part: float, whole: float) -> str:
    """Write the share of ``part`` in ``whole`` in per cent."""
    return f"{100 * part / whole if whole else 0:.1f} %"
