"""What the machine does while something is measured: CPU by who used it, memory, the disk."""

import mmap
import os
import re
import resource
import statistics
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
NOISY_PERCENT = 25  # of one core, used by others while we measured


def process_cpu(pid):
    """User and system seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def process_cpu_fine(pid):
    """Like process_cpu, but in nanoseconds: for a process that does next to nothing. Threads that ended count as well."""
    cpu_clock = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
    try:
        return time.clock_gettime(cpu_clock)
    except OSError:
        return sum(process_cpu(pid))


def memory_mib(pid):
    found = dict(re.findall(r"(VmRSS|RssAnon|VmHWM):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()))
    return {key: int(value) / 1024 for key, value in found.items()}


def available_mib():
    return int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024


def kernel_threads():
    """CPU seconds of writeback and the like: work for whoever wrote, so neither foreign nor the broker's own."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[1] == "2":
            found[stat.parent.name] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


class Usage:
    """CPU seconds since the start of this object, by who used them; `pids` are the brokers."""

    def __init__(self, pids=()):
        self.pids = list(pids)
        self.kernel_first = kernel_threads()
        self.first = self.read()

    def read(self):
        user, nice, system, _, iowait, irq, softirq, steal = (
            int(x) / TICKS for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
        ours = resource.getrusage(resource.RUSAGE_SELF)
        clients = resource.getrusage(resource.RUSAGE_CHILDREN)
        broker_user, broker_system = (sum(times) for times in zip((0, 0), *map(process_cpu, self.pids)))
        return {
            "wall": time.monotonic(), "busy": user + nice + system, "iowait": iowait, "interrupts": irq + softirq,
            "steal": steal, "self": ours.ru_utime + ours.ru_stime, "clients": clients.ru_utime + clients.ru_stime,
            "broker_user": broker_user, "broker_system": broker_system, "broker": broker_user + broker_system,
        }

    def done(self):
        now = self.read()
        d = {key: now[key] - self.first[key] for key in now}
        wall = max(d["wall"], 1e-6)
        kernel = sum(max(0, cpu - self.kernel_first.get(pid, 0)) for pid, cpu in kernel_threads().items())
        foreign = max(0, d["busy"] - d["broker"] - d["clients"] - d["self"] - kernel)
        return {
            "wall_s": d["wall"], "broker_cpu_s": d["broker"], "broker_user_s": d["broker_user"],
            "broker_system_s": d["broker_system"], "clients_cpu_s": d["clients"],
            "kernel_threads_cpu_s": kernel, "interrupts_cpu_s": d["interrupts"],
            "available_mib": available_mib(),
            "foreign_pct": 100 * foreign / wall, "steal_pct": 100 * d["steal"] / wall, "iowait_pct": 100 * d["iowait"] / wall,
        }


def is_noisy(usage):
    return usage["foreign_pct"] + usage["steal_pct"] > NOISY_PERCENT


def wait_until_quiet(seconds, pids=()):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        usage = Usage(pids)
        time.sleep(0.5)
        if not is_noisy(usage.done()):
            return


def touch_memory(size):
    """Has that much memory in use for a moment. A virtual machine gives free memory back to its host and gets it again page
    by page, at the cost of whoever asks first; without this the broker would pay for that with its page cache."""
    size = min(size + 2**29, int(available_mib() * 2**20) // 2) & -2**21
    with mmap.mmap(-1, size) as memory:
        try:
            memory.madvise(23)  # MADV_POPULATE_WRITE
        except (OSError, ValueError):
            for at in range(0, size, mmap.PAGESIZE):
                memory[at] = 1


def filesystem(path):
    best = ("", "?")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind = line.split()[:3]
        inside = str(path) == mount or str(path).startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def fsync_ms(directory):
    """Median of fdatasync after 16 KiB: what the disk takes from a broker that syncs before it answers."""
    path, taken = directory / "fsync", []
    with open(path, "wb", buffering=0) as f:
        for _ in range(50):
            f.write(bytes(16384))
            began = time.monotonic()
            os.fdatasync(f.fileno())
            taken.append(1000 * (time.monotonic() - began))
    path.unlink()
    return statistics.median(taken)
