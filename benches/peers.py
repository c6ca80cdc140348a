"""How each proxy is told to do the same work: one upstream, a route by host, no access log unless asked for.

`command(name, kind, ...)` writes the configuration and returns the argument list. Kinds: h1, h2, tcp.
weir gets Envoy's bootstrap, to the byte.
"""

import json
import os
import pathlib

TYPE = "type.googleapis.com/envoy."
ISTIO_LINE = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
HOSTS = ["svc.mesh.local", "127.0.0.1", "localhost"]


def direct(match):
    """A route that answers by itself: the choice of the route is all that it costs."""
    return {"match": match, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}


def route_table(kind, count):
    """Virtual hosts of a table with `count` rows, and the host and path that only its last row matches."""
    last = count - 1
    if kind == "vhosts":
        rows = [{"name": f"v{i}", "domains": [f"host-{i}.test"], "routes": [direct({"prefix": "/"})]} for i in range(count)]
        return rows, f"host-{last}.test", "/x"
    match = {"prefix": lambda i: {"prefix": f"/service-{i}/"}, "path": lambda i: {"path": f"/service-{i}/item"}}[kind]
    rows = [{"name": "v", "domains": ["*"], "routes": [direct(match(i)) for i in range(count)]}]
    return rows, HOSTS[0], f"/service-{last}/item"


def bootstrap(kind, listen, upstream, log=None, table=None):
    """The Envoy v3 bootstrap. `log`: path of an access log in Istio's default format; `table`: see `route_table`."""
    sock = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    if kind == "tcp":
        terminal = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tcp",
                "cluster": "be",
            },
        }
    else:
        hosts = HOSTS + [f"{host}:*" for host in HOSTS]
        router = {"@type": TYPE + "extensions.filters.http.router.v3.Router"}
        manager = {
            "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "codec_type": "HTTP2" if kind == "h2" else "HTTP1",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "v",
                        "domains": hosts,
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "be"}}],
                    }
                ]
            },
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        }
        if table:
            manager["route_config"]["virtual_hosts"] = route_table(*table)[0]
        if log:
            file_log = {
                "@type": TYPE + "extensions.access_loggers.file.v3.FileAccessLog",
                "path": log,
                "log_format": {"text_format_source": {"inline_string": ISTIO_LINE}},
            }
            manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": file_log}]
        terminal = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    threshold = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    options = TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"
    protocol = {"http2_protocol_options": {}} if kind == "h2" else {"http_protocol_options": {}}
    endpoint = {"endpoint": {"address": sock(upstream)}}
    cluster = {
        "name": "be",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [threshold]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": protocol,
            }
        },
        "load_assignment": {"cluster_name": "be", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": "l", "address": sock(listen), "filter_chains": [{"filters": [terminal]}]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def haproxy(kind, listen, upstream):
    """HAProxy's configuration: one thread, keep-alive on both sides, the host looked up in a list."""
    h2 = " proto h2" if kind == "h2" else ""
    mode = "tcp" if kind == "tcp" else "http"
    http = "" if mode == "tcp" else "  option http-keep-alive\n  http-reuse always\n  option forwardfor\n"
    choose = "default_backend be" if mode == "tcp" else "use_backend be if known"
    known = "" if mode == "tcp" else f"  acl known hdr(host),host_only -m str {' '.join(HOSTS)}\n"
    return (
        "global\n  nbthread 1\n  maxconn 7000\n  tune.h2.max-concurrent-streams 1000\n"
        f"defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n{http}"
        f"frontend f\n  bind 127.0.0.1:{listen}{h2}\n{known}  {choose}\n"
        f"backend be\n  server s1 127.0.0.1:{upstream}{h2}\n"
    )


def nginx(kind, listen, upstream, out):
    """NGINX's configuration: one worker, keep-alive to the upstream, forwarding headers as the others add them."""
    modules = "include /etc/nginx/modules-enabled/*.conf;\n" if kind == "tcp" else ""
    top = (
        f"{modules}worker_processes 1;\npid {out}/nginx.pid;\ndaemon off;\nerror_log {out}/nginx.err error;\n"
        "worker_rlimit_nofile 20000;\nevents { worker_connections 16000; }\n"
    )
    server = f"listen 127.0.0.1:{listen}"
    if kind == "tcp":
        return top + (
            f"stream {{ upstream be {{ server 127.0.0.1:{upstream}; }}\n"
            f"  server {{ {server}; proxy_pass be; }} }}\n"
        )
    if kind == "h2":
        server += " http2"
        forward = "grpc_pass grpc://be; grpc_set_header X-Request-Id $request_id;"
    else:
        forward = (
            "proxy_pass http://be; proxy_http_version 1.1; proxy_set_header Connection '';\n"
            "    proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;\n"
            "    proxy_set_header X-Request-Id $request_id;"
        )
    paths = " ".join(f"{name}_temp_path {out};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return top + (
        f"http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; {paths}\n"
        "  http2_max_concurrent_streams 1000; proxy_max_temp_file_size 0;\n"
        f"  upstream be {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}\n"
        f"  server {{ {server} backlog=4096; server_name {' '.join(HOSTS)};\n    location / {{ {forward} }} }} }}\n"
    )


def command(name, kind, listen, upstream, out, programs, workers=1, log=None, table=None):
    """Writes the configuration of proxy `name` below `out` and returns the arguments that start it."""
    out = pathlib.Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if name in ("envoy", "weir"):
        path = out / f"bootstrap-{kind}{'-log' if log else ''}{'-%s-%d' % table if table else ''}.json"
        path.write_text(bootstrap(kind, listen, upstream, log, table))
        argv = [programs[name], "-c", str(path), "--concurrency", str(workers)]
        return argv + (["--disable-hot-restart", "-l", "error"] if name == "envoy" else [])
    if name == "haproxy":
        path = out / f"haproxy-{kind}.cfg"
        path.write_text(haproxy(kind, listen, upstream))
        return [programs[name], "-f", str(path)]
    if name == "nginx":
        path = out / f"nginx-{kind}.conf"
        path.write_text(nginx(kind, listen, upstream, out))
        # As root NGINX's workers would run as another user, who cannot write below the checkout.
        argv = [programs[name], "-c", str(path), "-e", str(out / "nginx.err")]
        return argv + (["-g", "user root;"] if os.geteuid() == 0 else [])
    raise SystemExit(f"unknown proxy '{name}'; one of weir, envoy, haproxy, nginx")
