"""Which machine this is."""

import functools
import os
import platform


@functools.cache
def this_device() -> dict[str, str]:
    """What tells this machine from others: a dict of strings."""
    processor = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [li.split(":", 1)[1] for li in file if li.startswith("model name")]
        processor = names[0].strip() if names else processor
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor,
        "cores": str(os.cpu_count()),
    }
