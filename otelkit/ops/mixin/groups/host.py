"""The only place for the alerts on machines: disks, memory, processors, clocks.

What they compare comes from the node exporter (`collector/overlays/infra.yaml`); `instance` is its address.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Runbook, Threshold

_EXPORTER: Final = "the node exporter on the machine and the Collector's overlay `infra`"
_REAL = 'fstype!~"tmpfs|overlay|squashfs|ramfs"'
"""Disks, and no views of others' and of memory."""
_DISK = "$S, instance, device, mountpoint"
_FREE = f"node_filesystem_avail_bytes{{{_REAL}}} / node_filesystem_size_bytes"
_INODES = f"node_filesystem_files_free{{{_REAL}}} / (node_filesystem_files > 0)"
_MEMORY = "max by ($S, instance) (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)"
_CPU = '1 - avg by ($S, instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))'
_CLOCK = "max by ($S, instance) (abs(node_timex_offset_seconds))"

_OF_DISK: Final = 'instance="<instance>", mountpoint="<mountpoint>"'
_LARGEST: Final = "`du -xh --max-depth=2 MOUNTPOINT | sort -h | tail -20`"
_PER_SERVICE_MEMORY: Final = Look(
    says="which service uses it",
    query='topk(5, sum by (service_name) (process_memory_usage_bytes{service_name!=""}))',
)

HOST_DISK_SPACE_LOW = Alert(
    name="HostDiskSpaceLow",
    group="host",
    severity="critical",
    lasting="5m",
    expr=f"min by ({_DISK}) ({_FREE} and node_filesystem_readonly == 0) < $disk",
    thresholds=(
        Threshold(
            name="disk",
            default=0.1,
            unit="ratio",
            about="share of a disk that has to be free",
            observed=f"min by ($S, instance) ({_FREE} and node_filesystem_readonly == 0)",
            crossed="below",
        ),
    ),
    feels="Soon nothing can be written: databases stop, uploads fail, logs end.",
    summary="{{ $labels.mountpoint }} of {{ $labels.instance }} has only {{ $value | humanizePercentage }} left",
    runbook=Runbook(
        looks=(
            Look(says="how much is left, in bytes", query=f"node_filesystem_avail_bytes{{{_OF_DISK}}}"),
            Look(
                says="how fast it fills: bytes a second, negative",
                query=f"deriv(node_filesystem_avail_bytes{{{_OF_DISK}}}[1h])",
            ),
            Look(
                says="whether a database is what grows",
                query="topk(5, deriv(pg_database_size_bytes[1h]))",
            ),
        ),
        causes=(
            Cause(
                what="Logs or dumps pile up.",
                sign=f"{_LARGEST} names the folder.",
                fix="`journalctl --vacuum-size=500M`; delete old dumps; then set up rotation.",
            ),
            Cause(
                what="Images and layers of containers.",
                sign="The folder is `/var/lib/docker` or `/var/lib/containerd`.",
                fix="`docker system prune` (never `--volumes`).",
            ),
            Cause(
                what="A database, or the stores of telemetry, grow.",
                sign="The third look is above 0; or the folder is that of Prometheus, Loki or Tempo.",
                fix="A larger disk. Telemetry: a shorter retention in `deploy/.env`, then `otelkit stack up`.",
            ),
            Cause(
                what="A file is deleted and still open.",
                sign="`du` finds less than `df`; `lsof +L1` names the process.",
                fix="Restart that process.",
            ),
        ),
        tell="Who runs the machine; the owners of the database, if its data are on this disk.",
    ),
    undrilled="would fill the disk of the machine that drills",
    needs=_EXPORTER,
    budget=(420, "a disk that fills for less than five minutes is a temporary file"),
)

HOST_DISK_WILL_FILL = Alert(
    name="HostDiskWillFill",
    group="host",
    severity="warning",
    lasting="1h",
    # A line through an hour of a new machine, or through its first copy of data, says nothing of tomorrow.
    expr=f"min by ({_DISK}) (\n"
    f"  predict_linear(node_filesystem_avail_bytes{{{_REAL}}}[6h], 86400)\n"
    "  and node_filesystem_avail_bytes / node_filesystem_size_bytes < $disk_fill\n"
    "  and node_filesystem_readonly == 0 and node_filesystem_avail_bytes offset 3h > 0\n"
    ") < 0",
    thresholds=(
        Threshold(
            name="disk_fill",
            default=0.4,
            unit="ratio",
            about="share of a disk that is free below which its growth is looked at",
            observed=f"min by ($S, instance) ({_FREE} and node_filesystem_readonly == 0)",
            crossed="guard",
        ),
    ),
    feels="Nothing yet: within a day nothing can be written.",
    summary="{{ $labels.mountpoint }} of {{ $labels.instance }} is full within a day, if it goes on like this",
    runbook=Runbook(
        looks=(
            Look(
                says="how much is left over the last hours: a line, or a saw",
                query=f"node_filesystem_avail_bytes{{{_OF_DISK}}}",
            ),
            Look(
                says="bytes that it grows by in a day",
                query=f"-deriv(node_filesystem_avail_bytes{{{_OF_DISK}}}[6h]) * 86400",
            ),
            Look(
                says="which database grows",
                query="topk(5, deriv(pg_database_size_bytes[6h]) * 86400)",
            ),
        ),
        causes=(
            Cause(
                what="Something writes more than before.",
                sign=f"{_LARGEST}, twice in ten minutes.",
                fix="Stop what writes, a debug log mostly; rotate it.",
            ),
            Cause(
                what="A batch that cleans up behind itself.",
                sign="The first look is a saw: it fell and rose yesterday, too.",
                fix="Leave it, if its lowest point is above 10 %.",
            ),
            Cause(
                what="It has simply become too small.",
                sign="The same slope for weeks.",
                fix="A larger disk, or a shorter retention.",
            ),
        ),
        tell="Who runs the machine, today.",
    ),
    undrilled="takes four hours",
    needs=_EXPORTER,
)

HOST_INODES_LOW = Alert(
    name="HostInodesLow",
    group="host",
    severity="warning",
    lasting="15m",
    expr=f"min by ({_DISK}) ({_INODES}) < $inodes",
    thresholds=(
        Threshold(
            name="inodes",
            default=0.1,
            unit="ratio",
            about="share of a disk's inodes that has to be free",
            observed=f"min by ($S, instance) ({_INODES})",
            crossed="below",
        ),
    ),
    feels="Soon no file can be made, although `df` shows space: `No space left on device`.",
    summary="{{ $labels.mountpoint }} of {{ $labels.instance }} has only {{ $value | humanizePercentage }} of its "
    "inodes left",
    runbook=Runbook(
        looks=(
            Look(says="inodes that are left", query=f"node_filesystem_files_free{{{_OF_DISK}}}"),
            Look(
                says="how many files are made each second",
                query=f"-deriv(node_filesystem_files_free{{{_OF_DISK}}}[1h])",
            ),
        ),
        causes=(
            Cause(
                what="Small files pile up: sessions, caches, mail, temporary files.",
                sign="`du -x --inodes --max-depth=3 MOUNTPOINT | sort -n | tail -20` names the folder.",
                fix="`find FOLDER -xdev -type f -mtime +7 -delete`, when you know what they are.",
            ),
            Cause(
                what="Layers of containers.",
                sign="The folder is `/var/lib/docker/overlay2` or that of `containerd`.",
                fix="`docker system prune` (never `--volumes`).",
            ),
        ),
        tell="Who runs the machine; the owners of what makes the files.",
    ),
    undrilled="would use up the inodes of the machine that drills",
    needs=_EXPORTER,
)

HOST_MEMORY_HIGH = Alert(
    name="HostMemoryHigh",
    group="host",
    severity="warning",
    lasting="10m",
    expr=f"{_MEMORY} > $mem",
    thresholds=(
        Threshold(
            name="mem",
            default=0.8,
            unit="ratio",
            about="share of a machine's memory that is in use",
            observed=_MEMORY,
        ),
    ),
    feels="Nothing yet, or all is slow while it swaps. Then the kernel kills the largest process.",
    summary="{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its memory",
    runbook=Runbook(
        looks=(
            Look(
                says="how much is left, and since when it falls",
                query='node_memory_MemAvailable_bytes{instance="<instance>"}',
            ),
            _PER_SERVICE_MEMORY,
            Look(
                says="whether processes wait for memory: seconds in each second",
                query='rate(node_pressure_memory_waiting_seconds_total{instance="<instance>"}[5m])',
            ),
        ),
        causes=(
            Cause(
                what="A service leaks.",
                sign="The second look has one that only rises, since a deploy; ProcessMemoryHigh may fire.",
                fix="Restart it, roll back. Workers: `max_requests`, `worker_max_memory_per_child`.",
            ),
            Cause(
                what="More processes than the machine is made for.",
                sign="`ps aux --sort=-rss | head -20`: many of about the same size.",
                fix="Fewer workers, or move some.",
            ),
            Cause(
                what="A batch or a backup.",
                sign="It comes at the same time each day.",
                fix="Give it a limit (`systemd-run -p MemoryMax=1G`), or another machine.",
            ),
        ),
        tell="The owners of the service that grew.",
    ),
    undrilled="would take the memory of the machine that drills",
    needs=_EXPORTER,
)

HOST_OUT_OF_MEMORY_KILL = Alert(
    name="HostOutOfMemoryKill",
    group="host",
    severity="warning",
    expr="sum by ($S, instance) (increase(node_vmstat_oom_kill[10m])) > 0",
    feels="A process vanished in the middle of its work: requests broke off, tasks are lost or run twice.",
    summary='The kernel of {{ $labels.instance }} killed {{ $value | printf "%.0f" }} processes for their memory',
    runbook=Runbook(
        looks=(
            Look(says="how many, and when", query='increase(node_vmstat_oom_kill{instance="<instance>"}[10m])'),
            Look(
                says="who came back since: services by their youngest process",
                query="time() - max by (service_name) (timestamp("
                'process_cpu_time_seconds_total{service_name!=""} unless process_cpu_time_seconds_total offset 10m))',
            ),
            _PER_SERVICE_MEMORY,
        ),
        causes=(
            Cause(
                what="A process grew beyond what the machine, or its container, has.",
                sign="`journalctl -k --since -15min | grep -i 'killed process'` names it, and its size.",
                fix="It was restarted, or restart it; then find out why it grew, or give it more.",
            ),
            Cause(
                what="A small process was killed for the growth of another.",
                sign="The one that was killed is small; the list above it in the kernel's log names the largest.",
                fix="Limit the largest (`MemoryMax=`, the limit of its container).",
            ),
        ),
        tell="The owners of the process that was killed.",
        note="Counts containers that hit a limit of their own, too: the machine may have had memory left.",
    ),
    undrilled="would have the kernel kill a process of the machine that drills",
    needs=_EXPORTER,
)

HOST_CPU_HIGH = Alert(
    name="HostCpuHigh",
    group="host",
    severity="info",
    lasting="15m",
    expr=f"{_CPU} > $cpu",
    thresholds=(
        Threshold(
            name="cpu",
            default=0.9,
            unit="ratio",
            about="share of a machine's processors that is busy",
            observed=_CPU,
        ),
    ),
    feels="All is a little slower. Where people are hurt, HighLatency says so.",
    summary="{{ $labels.instance }} is {{ $value | humanizePercentage }} busy",
    runbook=Runbook(
        looks=(
            Look(
                says="what it is busy with: `iowait` is a disk, `steal` a neighbour",
                query='avg by (mode) (rate(node_cpu_seconds_total{instance="<instance>", mode!="idle"}[5m]))',
            ),
            Look(
                says="which service uses it: processors",
                query='topk(5, sum by (service_name) (rate(process_cpu_time_seconds_total{service_name!=""}[5m])))',
            ),
            Look(
                says="whether anybody waits for it: seconds in each second",
                query='rate(node_pressure_cpu_waiting_seconds_total{instance="<instance>"}[5m])',
            ),
        ),
        causes=(
            Cause(
                what="More traffic.",
                sign="Requests rose with it, and the CPU for each did not (board Release).",
                fix="More machines; nothing tonight, if nobody waits.",
            ),
            Cause(
                what="A loop without an end, or a new version that costs more.",
                sign="One service uses all, since a deploy; `py-spy dump --pid PID` shows where.",
                fix="Roll back, or restart it.",
            ),
        ),
        tell="The owners of the service, by day.",
    ),
    undrilled="would take the processors of the machine that drills for a quarter of an hour",
    needs=_EXPORTER,
)

HOST_CLOCK_SKEW = Alert(
    name="HostClockSkew",
    group="host",
    severity="warning",
    lasting="10m",
    expr=f"{_CLOCK} > $clock",
    thresholds=(
        Threshold(
            name="clock",
            default=0.05,
            unit="seconds",
            about="how far a machine's clock may be off",
            observed=_CLOCK,
        ),
    ),
    feels="Users notice nothing. Traces show answers before questions, tokens are refused as not yet valid.",
    summary="The clock of {{ $labels.instance }} is off by {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            Look(says="by how much, and since when", query='node_timex_offset_seconds{instance="<instance>"}'),
            Look(
                says="whether it is synchronised at all: 0 is not",
                query='node_timex_sync_status{instance="<instance>"}',
            ),
        ),
        causes=(
            Cause(
                what="Its time servers are not reached.",
                sign="`chronyc sources` or `timedatectl timesync-status` shows none.",
                fix="Open UDP 123 to them, or name others; `systemctl restart chrony`.",
            ),
            Cause(
                what="The virtual machine was paused or moved.",
                sign="A jump at one moment, then it comes back slowly.",
                fix="`chronyc makestep`.",
            ),
        ),
        tell="Who runs the machine.",
        note="The kernel only knows what the synchronising program tells it: where none runs the offset is 0 for ever. "
        "`node_timex_sync_status == 0` finds such machines.",
    ),
    undrilled="would put the clock of the machine that drills wrong",
    needs=_EXPORTER,
)

GROUP = Group(
    name="host",
    about="Machines.",
    alerts=(
        HOST_DISK_SPACE_LOW,
        HOST_DISK_WILL_FILL,
        HOST_INODES_LOW,
        HOST_MEMORY_HIGH,
        HOST_OUT_OF_MEMORY_KILL,
        HOST_CPU_HIGH,
        HOST_CLOCK_SKEW,
    ),
)
