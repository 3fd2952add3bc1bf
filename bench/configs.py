"""Configurations of the peers: the same job as ours, tuned as their manuals advise.

The job: any of the services, the least busy first; the path rewritten, the query kept; X-Forwarded-For added;
keep-alive on both sides without a limit of requests a connection; WebSocket passed on; one thread or worker. Logged is
nothing, or a line for each request into a file, as the default format of each has it.
"""

import getpass
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.messages import KIB, MIB, SERVED

IDLE_TO_BACKENDS = 256  # connections kept, or two for each service: more than any workload needs
KEPT_S = 60  # a connection to a service that is not used (nginx keeps it as long by default)
IDLE_S = 600  # clients that wait in silence are a workload, and must stay


@dataclass(frozen=True, slots=True)
class Demand:
    """What a balancer must be ready for."""

    clients: int = 4000
    concurrency: int | None = None  # requests that a service is sent at once; None: any number
    log: str | None = None  # the file that requests are logged to


ANY = Demand()


def haproxy(port: int, backend_ports: Sequence[int], mode: str, demand: Demand = ANY, *, splices: bool = True) -> str:
    """HAProxy's: `http-reuse always` and splicing both ways (2.6 manual, 4.2), through pipes as large as ours.

    `splice-auto` guesses, and splices nothing of HTTP requests here. Without splicing is how it comes and mostly runs.
    Without `no strict-limits` it refuses to start where the limit of descriptors is below twice `maxconn`, which two
    sockets for each client would need at worst. With the default ratios it stops reusing connections to services once
    its clients have a fifth of the descriptors, and 10,000 idle clients triple its cost.
    """
    http = "    http-reuse always\n    option forwardfor\n" if mode == "http" else ""
    splice = "    option splice-request\n    option splice-response\n" if splices else ""
    pipes = f"    tune.pipesize {MIB}\n" if splices else ""
    rewrite = f"    http-request set-path {SERVED}\n" if mode == "http" else ""
    maxconn = f" maxconn {demand.concurrency}" if demand.concurrency else ""
    servers = "".join(f"    server s{n} 127.0.0.1:{one}{maxconn}\n" for n, one in enumerate(backend_ports))
    queue = "    timeout queue 60s\n" if demand.concurrency else ""
    log = f"    log stdout format raw local0\n    option {mode}log\n" if demand.log else ""
    return f"""global
    maxconn {demand.clients}
    no strict-limits
    tune.pool-low-fd-ratio 90
    tune.pool-high-fd-ratio 95
    nbthread 1
{pipes}defaults
    mode {mode}
    timeout connect 5s
    timeout client {IDLE_S}s
    timeout server 60s
{queue}{http}{splice}{log}frontend clients
    bind 127.0.0.1:{port}
{rewrite}    default_backend services
backend services
    balance leastconn
{servers}"""


def nginx(port: int, backend_ports: Sequence[int], directory: str, demand: Demand = ANY) -> str:
    """nginx's: `keepalive`, HTTP/1.1, an empty Connection (ngx_http_upstream_module), as large buffers as ours.

    With its default of 16 KB each scan is written to a file, which costs six times as much. Its log is buffered
    (ngx_http_log_module), and WebSocket passed on as its manual says (docs/http/websocket).
    """
    servers = "".join(f"        server 127.0.0.1:{one} max_fails=0;\n" for one in backend_ports)
    paths = "".join(
        f"    {name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    kept = max(IDLE_TO_BACKENDS, 2 * len(backend_ports))
    user = f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""
    log = f"{demand.log} combined buffer=64k flush=1s" if demand.log else "off"
    return f"""{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections {2 * demand.clients}; }}
http {{
    access_log {log};
{paths}    client_max_body_size 0;
    client_body_buffer_size 8m;
    proxy_buffers 16 64k;
    proxy_busy_buffers_size 256k;
    proxy_max_temp_file_size 0;
    keepalive_requests 1000000000;
    keepalive_timeout {IDLE_S}s;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}
    upstream services {{
        least_conn;
{servers}        keepalive {kept};
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            rewrite ^ {SERVED} break;
            proxy_pass http://services;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


_ENVOY_TYPES = "type.googleapis.com/envoy.extensions."


def envoy(port: int, backend_ports: Sequence[int], demand: Demand = ANY) -> str:
    """Envoy's, as its FAQ advises for benchmarks.

    No circuit breaking, no generated request ids, no dynamic statistics; one thread (`--concurrency 1`) like the rest.
    """
    manager = {
        "@type": f"{_ENVOY_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "use_remote_address": True,  # adds X-Forwarded-For
        "generate_request_id": False,
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_S}s"},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [_envoy_routes()]},
        "http_filters": [_envoy_filter("router", "http.router.v3.Router")],
        "access_log": [_envoy_log(demand.log)] if demand.log else [],
    }
    listener = {
        "address": _envoy_address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    bootstrap = {
        "static_resources": {"listeners": [listener], "clusters": [_envoy_cluster(backend_ports)]},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"overload": _NO_LIMIT}}]},
    }
    return json.dumps(bootstrap, indent=1)


_NO_LIMIT = {"global_downstream_max_connections": 1_000_000}
_NO_BREAKING = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 10**9)


def _envoy_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_filter(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_ENVOY_TYPES}filters.{kind}"}}


def _envoy_log(path: str) -> dict[str, Any]:
    kind = f"{_ENVOY_TYPES}access_loggers.file.v3.FileAccessLog"
    return {"name": "file", "typed_config": {"@type": kind, "path": path}}


def _envoy_routes() -> dict[str, Any]:
    route = {"cluster": "services", "prefix_rewrite": SERVED, "timeout": f"{IDLE_S}s"}
    return {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}


def _envoy_cluster(backend_ports: Sequence[int]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _envoy_address(port)}} for port in backend_ports]
    return {
        "name": "services",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": 1024 * KIB,
        "circuit_breakers": {"thresholds": [_NO_BREAKING]},
        "load_assignment": {"cluster_name": "services", "endpoints": [{"lb_endpoints": endpoints}]},
    }
