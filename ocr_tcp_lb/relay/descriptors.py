"""How many files the process may open: a shell's soft limit, often 1024, is far below what clients are promised."""

import resource

SOCKETS_A_CLIENT = 2  # its own, and its backend's
SPARE = 1024  # 256 for pipes, 256 for clients above the limit, the rest for idle backend connections, checks and logs


def allow_descriptors(connections: int) -> str | None:
    """Raise the soft limit to what so many clients need, as far as the hard one allows; return what to warn of."""
    needed = SOCKETS_A_CLIENT * connections + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # a sandbox, or fs.nr_open is lower
            most = soft
    if most == needed:
        return None
    return (
        f"--max-connections {connections} may take {needed} open files, and this process is allowed {most}: with none "
        "left, clients wait or get 503; raise the hard limit (ulimit -Hn, or LimitNOFILE= under systemd)"
    )
