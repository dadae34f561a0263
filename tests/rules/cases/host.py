"""Cases of the alerts on machines."""

from __future__ import annotations

from rules.case import Case

_EXPORTER = 'job="node", service_name="node", instance="web-1:9100"'
_HOST = {"service_name": "node", "instance": "web-1:9100"}
_ROOT = {**_HOST, "device": "/dev/vda1", "mountpoint": "/"}


def _disk(*, free: str, size: str = "100e9x200", readonly: str = "0x200", fstype: str = "ext4") -> dict[str, str]:
    """Return a disk: bytes that are free, its size, and whether it is read-only."""
    labels = f'{_EXPORTER}, device="/dev/vda1", fstype="{fstype}", mountpoint="/"'
    return {
        f"node_filesystem_avail_bytes{{{labels}}}": free,
        f"node_filesystem_size_bytes{{{labels}}}": size,
        f"node_filesystem_readonly{{{labels}}}": readonly,
    }


def _inodes(free: str, all_of_them: str = "100000x200", fstype: str = "ext4") -> dict[str, str]:
    labels = f'{_EXPORTER}, device="/dev/vda1", fstype="{fstype}", mountpoint="/"'
    return {f"node_filesystem_files_free{{{labels}}}": free, f"node_filesystem_files{{{labels}}}": all_of_them}


def _memory(available: str) -> dict[str, str]:
    return {
        f"node_memory_MemAvailable_bytes{{{_EXPORTER}}}": available,
        f"node_memory_MemTotal_bytes{{{_EXPORTER}}}": "16e9x200",
    }


def _cpu(idle: str, user: str) -> dict[str, str]:
    """Return the seconds of two processors: those of each in two modes."""
    return {
        f'node_cpu_seconds_total{{{_EXPORTER}, cpu="{cpu}", mode="{mode}"}}': values
        for cpu in "01"
        for mode, values in (("idle", idle), ("user", user))
    }


def _node(name: str, values: str) -> dict[str, str]:
    return {f"node_{name}{{{_EXPORTER}}}": values}


# Each five minutes: 0.2 GB are 58 GB a day; 36 of 100 GB are free after six hours.
_FILLS = _disk(free="50e9-0.2e9x200")

CASES = (
    Case(
        alert="HostDiskSpaceLow",
        says="8 % are free",
        series=_disk(free="8e9x200"),
        at="6m",
        fires=(_ROOT,),
        summary="/ of web-1:9100 has only 8% left",
    ),
    Case(alert="HostDiskSpaceLow", says="12 % are free", series=_disk(free="12e9x200"), at="6m"),
    Case(alert="HostDiskSpaceLow", says="8 %, for not yet five minutes", series=_disk(free="8e9x200"), at="4m45s"),
    Case(
        alert="HostDiskSpaceLow",
        says="a disk that is read-only is full",
        series=_disk(free="0x200", readonly="1x200"),
        at="6m",
    ),
    Case(
        alert="HostDiskSpaceLow",
        says="a file system in memory is full",
        series=_disk(free="1e9x200", fstype="tmpfs"),
        at="6m",
    ),
    # -- a disk that fills
    Case(
        alert="HostDiskWillFill",
        says="36 % are free, and 58 % of the disk fill in a day",
        series=_FILLS,
        at="6h",
        fires=(_ROOT,),
        summary="/ of web-1:9100 is full within a day, if it goes on like this",
        step="5m",
        every="5m",
    ),
    Case(
        alert="HostDiskWillFill",
        says="for not yet an hour",
        series=_FILLS,
        at="5h",
        step="5m",
        every="5m",
    ),
    Case(
        alert="HostDiskWillFill",
        says="38 % are free, and 29 % fill in a day",
        series=_disk(free="45e9-0.1e9x200"),
        at="6h",
        step="5m",
        every="5m",
    ),
    Case(
        alert="HostDiskWillFill",
        says="55 % are free, and 115 % would fill in a day",
        series=_disk(free="84e9-0.4e9x200"),
        at="6h",
        step="5m",
        every="5m",
    ),
    Case(
        alert="HostDiskWillFill",
        says="a machine that has been there for two hours fills fast",
        series=_disk(free="38e9-0.4e9x200"),
        at="2h30m",
        step="5m",
        every="5m",
    ),
    Case(
        alert="HostDiskWillFill",
        says="a disk that is read-only",
        series=_disk(free="50e9-0.2e9x200", readonly="1x200"),
        at="6h",
        step="5m",
        every="5m",
    ),
    Case(
        alert="HostDiskWillFill",
        says="a file system in memory",
        series=_disk(free="50e9-0.2e9x200", fstype="tmpfs"),
        at="6h",
        step="5m",
        every="5m",
    ),
    # -- inodes
    Case(
        alert="HostInodesLow",
        says="8 % are free",
        series=_inodes("8000x200"),
        at="16m",
        fires=(_ROOT,),
        summary="/ of web-1:9100 has only 8% of its inodes left",
    ),
    Case(alert="HostInodesLow", says="12 % are free", series=_inodes("12000x200"), at="16m"),
    Case(alert="HostInodesLow", says="8 %, for not yet 15 minutes", series=_inodes("8000x200"), at="14m45s"),
    Case(
        alert="HostInodesLow",
        says="a file system that has no fixed number of them",
        series=_inodes("0x200", "0x200", fstype="btrfs"),
        at="16m",
    ),
    Case(alert="HostInodesLow", says="a file system in memory", series=_inodes("8000x200", fstype="tmpfs"), at="16m"),
    # -- memory
    Case(
        alert="HostMemoryHigh",
        says="85 % in use",
        series=_memory("2.4e9x200"),
        at="11m",
        fires=(_HOST,),
        summary="web-1:9100 uses 85% of its memory",
    ),
    Case(alert="HostMemoryHigh", says="75 % in use", series=_memory("4e9x200"), at="11m"),
    Case(alert="HostMemoryHigh", says="85 %, for not yet ten minutes", series=_memory("2.4e9x200"), at="9m45s"),
    Case(
        alert="HostOutOfMemoryKill",
        says="one process was killed",
        series=_node("vmstat_oom_kill", "3x8 4x60"),
        at="5m",
        fires=(_HOST,),
        summary="The kernel of web-1:9100 killed 1 processes for their memory",
    ),
    Case(alert="HostOutOfMemoryKill", says="long ago", series=_node("vmstat_oom_kill", "3x60"), at="12m"),
    # -- processors: seconds each 15 s
    Case(
        alert="HostCpuHigh",
        says="95 % busy",
        series=_cpu("0+0.75x120", "0+14.25x120"),
        at="16m",
        fires=(_HOST,),
        summary="web-1:9100 is 95% busy",
    ),
    Case(alert="HostCpuHigh", says="85 % busy", series=_cpu("0+2.25x120", "0+12.75x120"), at="16m"),
    Case(
        alert="HostCpuHigh",
        says="95 %, for not yet 15 minutes",
        series=_cpu("0+0.75x120", "0+14.25x120"),
        at="15m",
    ),
    # -- the clock
    Case(
        alert="HostClockSkew",
        says="60 ms slow",
        series=_node("timex_offset_seconds", "0.06x100"),
        at="11m",
        fires=(_HOST,),
        summary="The clock of web-1:9100 is off by 60ms",
    ),
    Case(
        alert="HostClockSkew",
        says="60 ms fast",
        series=_node("timex_offset_seconds", "-0.06x100"),
        at="11m",
        fires=(_HOST,),
    ),
    Case(alert="HostClockSkew", says="40 ms", series=_node("timex_offset_seconds", "0.04x100"), at="11m"),
    Case(
        alert="HostClockSkew",
        says="60 ms, for not yet ten minutes",
        series=_node("timex_offset_seconds", "0.06x100"),
        at="9m45s",
    ),
)
