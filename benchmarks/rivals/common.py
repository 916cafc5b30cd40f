"""What rivals share with model_server."""


def peak_bytes():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def reset_peak():
    with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
        clear.write("5")


def tokens_for(vocabulary, count):
    """The same tokens as in model.h."""
    return [i * 7919 % vocabulary for i in range(count)]
