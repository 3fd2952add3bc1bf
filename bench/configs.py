"""Configurations of the peers: the same job as ours, tuned as their manuals advise.

The job: any of three services, the least busy first; the path rewritten, the query kept; X-Forwarded-For added;
keep-alive on both sides without a limit of requests a connection; nothing logged; one thread or worker.
"""

import getpass
import os
from collections.abc import Sequence

from bench.workloads import SERVED

IDLE_TO_BACKENDS = 256  # connections kept, more than any workload needs


def haproxy(port: int, backend_ports: Sequence[int], mode: str) -> str:
    """HAProxy 2.6's: `http-reuse always` (2.6 manual, 4.2) and, for connections, `splice-auto`."""
    http = "    http-reuse always\n    option forwardfor\n" if mode == "http" else "    option splice-auto\n"
    rewrite = f"    http-request set-path {SERVED}\n" if mode == "http" else ""
    servers = "".join(f"    server s{n} 127.0.0.1:{one}\n" for n, one in enumerate(backend_ports))
    return f"""global
    maxconn 4000
    nbthread 1
defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{http}frontend clients
    bind 127.0.0.1:{port}
{rewrite}    default_backend services
backend services
    balance leastconn
{servers}"""


def nginx(port: int, backend_ports: Sequence[int], directory: str) -> str:
    """nginx's: `keepalive`, HTTP/1.1, an empty Connection (ngx_http_upstream_module); buffering left as it is."""
    servers = "".join(f"        server 127.0.0.1:{one} max_fails=0;\n" for one in backend_ports)
    paths = "".join(
        f"    {name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""
    return f"""{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
{paths}    client_max_body_size 0;
    keepalive_requests 1000000000;
    upstream services {{
        least_conn;
{servers}        keepalive {IDLE_TO_BACKENDS};
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            rewrite ^ {SERVED} break;
            proxy_pass http://services;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""
