"""Hostile control planes: what a proxy must live through with its last good state in force.

usage: main.py --weir PROGRAM [--only CASE]

Prints a line for each case; ends with 1 when one failed."""

import argparse
import contextlib
import http.client
import http.server
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import plane as p
from plane import Plane

WITHIN = 20


def free():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def backend(name):
    """A server whose answer is its name; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            self.send_response(200)
            self.send_header('content-length', str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def fetch(port, path='/'):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def until(what, holds):
    end = time.monotonic() + WITHIN
    while True:
        last = None
        try:
            last = holds()
            if last is True:
                return
        except OSError as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f'waited {WITHIN} s for: {what}; {last}')
        time.sleep(0.02)


class Bench:
    """A proxy that a control plane on `plane_port` programs, and two back ends."""

    def __init__(self, weir, plane_port, fetch_timeout='1s'):
        self.listen, self.admin = free(), free()
        self.a, self.b = backend('a'), backend('b')
        source = '{ads: {}, resource_api_version: V3, initial_fetch_timeout: %s}' % fetch_timeout
        self.folder = tempfile.TemporaryDirectory(prefix='weir-hostile')
        config = os.path.join(self.folder.name, 'bootstrap.yaml')
        with open(config, 'w') as file:
            file.write(BOOTSTRAP % (self.admin, source, source, plane_port))
        self.log = os.path.join(self.folder.name, 'stderr')
        self.process = subprocess.Popen(
            [weir, '-c', config, '--concurrency', '1', '--disable-hot-restart', '-l', 'warning'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.log, 'w'))

    def said(self):
        with open(self.log) as file:
            return file.read()

    def answers(self, want):
        until(f'{want} answers', lambda: fetch(self.listen) == (200, want) or fetch(self.listen))

    def stat(self, name):
        for line in fetch(self.admin, '/stats?filter=' + name)[1].splitlines():
            if line.startswith(name + ': '):
                return int(line.split(': ')[1])
        return None

    def resident(self):
        """Resident memory in MB."""
        with open(f'/proc/{self.process.pid}/status') as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith('VmRSS'))

    def alive(self):
        assert self.process.poll() is None, f'the proxy ended: {self.said()[-2000:]}'

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        try:
            if failure is None:
                self.alive()
        finally:
            self.process.kill()
            self.process.wait()
            self.folder.cleanup()


BOOTSTRAP = '''
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: plane, retry_policy: {retry_back_off: {base_interval: 0.05s, max_interval: 0.3s}}}}]
  cds_config: %s
  lds_config: %s
static_resources:
  clusters:
  - name: plane
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: plane
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
'''


@contextlib.contextmanager
def programmed(weir):
    """A control plane, a proxy that it programs and that lives to the end, and the proxy's first stream."""
    with Plane() as plane, Bench(weir, plane.port) as bench:
        yield plane, bench, plane.stream()


def good(bench, stream, name='one', version='1'):
    """Everything that a request needs, in order; back end a answers."""
    stream.send(p.CLUSTER, [p.cluster(name)], version, 'c' + version)
    assert stream.answer(p.CLUSTER, 'c' + version) is None
    stream.wait(lambda r: r.type_url == p.ENDPOINTS and name in r.resource_names)
    stream.send(p.ENDPOINTS, [p.assignment(name, bench.a)], version, 'e' + version)
    stream.send(p.LISTENER, [p.listener('main', bench.listen, 'routes')], version, 'l' + version)
    stream.wait(lambda r: r.type_url == p.ROUTE and 'routes' in r.resource_names)
    stream.send(p.ROUTE, [p.routes('routes', name)], version, 'r' + version)
    bench.answers('a')


def types_out_of_order(weir):
    """Routes, endpoints and listeners before the clusters that they need."""
    with programmed(weir) as (_, bench, stream):
        stream.send(p.ENDPOINTS, [p.assignment('one', bench.a)], nonce='e1')
        stream.send(p.ROUTE, [p.routes('routes', 'one')], nonce='r1')
        stream.send(p.LISTENER, [p.listener('main', bench.listen, 'routes')], nonce='l1')
        stream.wait(lambda r: r.type_url == p.ROUTE and 'routes' in r.resource_names)
        stream.send(p.ROUTE, [p.routes('routes', 'one')], nonce='r2')
        stream.send(p.CLUSTER, [p.cluster('one')], nonce='c1')
        stream.wait(lambda r: r.type_url == p.ENDPOINTS and 'one' in r.resource_names)
        stream.send(p.ENDPOINTS, [p.assignment('one', bench.a)], nonce='e2')
        bench.answers('a')


def wrong_nonces(weir):
    """Nonces that repeat, are empty, or have 100 KB: each answer bears the one that came."""
    with programmed(weir) as (_, bench, stream):
        good(bench, stream)
        for version, nonce in (('2', 'c1'), ('3', ''), ('4', 'x' * 100_000), ('5', 'c1')):
            stream.send(p.CLUSTER, [p.cluster('one', connect_timeout=version + 's')], version, nonce)
            stream.wait(lambda r: r.type_url == p.CLUSTER and r.response_nonce == nonce and r.version_info == version)
        bench.answers('a')


def duplicate_names(weir):
    """Two clusters, and two listeners, of one name in one message."""
    with programmed(weir) as (_, bench, stream):
        good(bench, stream)
        stream.send(p.CLUSTER, [p.cluster('one'), p.cluster('two'), p.cluster('two', connect_timeout='2s')], '2', 'c2')
        refusal = stream.answer(p.CLUSTER, 'c2')
        assert refusal and 'two' in refusal and 'duplicate' in refusal.lower(), refusal
        twice = [p.listener('main', bench.listen, 'routes'), p.listener('main', free(), 'routes')]
        stream.send(p.LISTENER, twice, '2', 'l2')
        refusal = stream.answer(p.LISTENER, 'l2')
        assert refusal and 'main' in refusal, refusal
        bench.answers('a')


def huge_pushes(weir):
    """100 MB in one message is taken, and its memory given back; 300 MB, more than any bound, ends the stream only.

    The stream itself keeps the buffer of its largest message until it ends."""
    with programmed(weir) as (plane, bench, stream):
        good(bench, stream)
        filler = 'x' * 100_000
        padded = [p.cluster(f'big-{n}', metadata={'filter_metadata': {'pad': {'x': filler}}}) for n in range(1000)]
        before = bench.resident()
        stream.send(p.CLUSTER, [p.cluster('one')] + padded, '2', 'c2')
        assert stream.answer(p.CLUSTER, 'c2', 60) is None
        bench.answers('a')
        during = bench.resident() - before
        assert during < 500, f'{during:.0f} MB more for 100 MB of clusters'
        stream.send(p.CLUSTER, [p.cluster('one')], '3', 'c3')
        assert stream.answer(p.CLUSTER, 'c3') is None

        def grown_by(most):
            return lambda: bench.resident() - before < most or f'{bench.resident() - before:.0f} MB'

        until('the memory of the clusters is given back', grown_by(130))
        stream.end()
        stream = plane.stream()
        good(bench, stream, version='3.5')
        until('the memory of the stream is given back', grown_by(30))
        del padded
        stream.send(p.CLUSTER, [p.cluster('one', metadata={'filter_metadata': {'pad': {'x': 'x' * 300_000_000}}})], '4', 'c4')
        # The stream is over for the proxy: it opens another and asks for everything again.
        stream = plane.stream(60)
        good(bench, stream, version='5')
        bench.answers('a')
        grown = bench.resident() - before
        assert grown < 400, f'{grown:.0f} MB more after a message beyond the bound'


def silent_stream(weir):
    """A server that takes the stream and says nothing: the proxy is ready when its patience is over, and waits on."""
    with programmed(weir) as (_, bench, stream):
        until('ready', lambda: fetch(bench.admin, '/ready')[0] == 200)
        # It comes late, and is taken.
        good(bench, stream)


def stale_versions(weir):
    """Versions mean nothing but themselves: an older one is taken, an equal one with other content too."""
    with programmed(weir) as (_, bench, stream):
        good(bench, stream, version='9')
        stream.send(p.ENDPOINTS, [p.assignment('one', bench.b)], '3', 'e-old')
        assert stream.answer(p.ENDPOINTS, 'e-old') is None
        bench.answers('b')
        stream.send(p.ENDPOINTS, [p.assignment('one', bench.a)], '3', 'e-same')
        assert stream.answer(p.ENDPOINTS, 'e-same') is None
        bench.answers('a')


def what_never_comes(weir):
    """A listener whose routes never come, a route to a cluster that never comes: the rest goes into force in time."""
    with programmed(weir) as (_, bench, stream):
        good(bench, stream)
        other = free()
        both = [p.listener('main', bench.listen, 'routes'), p.listener('other', other, 'nowhere', initial_fetch_timeout='1s')]
        stream.send(p.LISTENER, both, '2', 'l2')
        assert stream.answer(p.LISTENER, 'l2') is None
        until('404 without routes', lambda: fetch(other)[0] == 404 or fetch(other))
        stream.send(p.ROUTE, [p.routes('routes', 'never')], '2', 'r2')
        assert stream.answer(p.ROUTE, 'r2') is None
        until('503 without its cluster', lambda: fetch(bench.listen)[0] == 503 or fetch(bench.listen))
        stream.send(p.ROUTE, [p.routes('routes', 'one')], '3', 'r3')
        bench.answers('a')


def not_what_it_says(weir):
    """Bytes that are no message, resources of another type, a type that nobody asked for."""
    with programmed(weir) as (_, bench, stream):
        good(bench, stream)
        rubbish = p.cluster('rubbish')
        rubbish.value = b'\xff\xff\xff\xff'
        stream.send(p.CLUSTER, [p.cluster('one'), rubbish], '2', 'c2')
        assert stream.answer(p.CLUSTER, 'c2')
        stream.send(p.CLUSTER, [p.cluster('one'), p.listener('odd', free(), 'routes')], '3', 'c3')
        refusal = stream.answer(p.CLUSTER, 'c3')
        assert refusal and 'Listener' in refusal, refusal
        stream.send(p.TYPE + 'service.runtime.v3.Runtime', [p.cluster('one')], '1', 'x1')
        stream.send('not a type', [], '1', 'x2')
        stream.send(p.CLUSTER, [p.cluster('one')], '4', 'c4')
        assert stream.answer(p.CLUSTER, 'c4') is None
        bench.answers('a')


def raw(weir, talk, what):
    """A server of bytes: each connection is handed to `talk`; the proxy lives and tries again."""
    server = socket.create_server(('127.0.0.1', 0))
    connections = []

    def serve():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            connections.append(client)
            try:
                talk(client)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        with Bench(weir, server.getsockname()[1]) as bench:
            until(f'it tries again after {what}', lambda: len(connections) >= 4 or len(connections))
            until('ready', lambda: fetch(bench.admin, '/ready')[0] == 200)
            assert bench.resident() < 100, f'{bench.resident():.0f} MB'
    finally:
        server.close()
        for client in connections:
            client.close()


def frame(kind, flags, stream, payload):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


SETTINGS = frame(4, 0, 0, b'')
# :status 200 (static table), content-type: application/grpc as a literal.
HEAD = frame(1, 4, 1, b'\x88\x5f\x10application/grpc')


def reset(client):
    """The end of a connection by RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()


def reset_in_mid_message(weir):
    """A response breaks off within a message of 1 MB, by a reset."""

    def talk(client):
        client.recv(65536)
        client.sendall(SETTINGS + HEAD + frame(0, 0, 1, b'\0' + struct.pack('>I', 1_000_000) + b'\x0a' * 9000))
        time.sleep(0.05)
        reset(client)

    raw(weir, talk, 'a reset in mid message')


def lengths_that_lie(weir):
    """A message that claims 4 GiB."""

    def talk(client):
        client.recv(65536)
        client.sendall(SETTINGS + HEAD + frame(0, 0, 1, b'\0' + struct.pack('>I', 0xffff_ffff) + b'x' * 1000))
        # The proxy ends it.
        client.settimeout(10)
        while client.recv(65536):
            pass

    raw(weir, talk, 'a length that lies')


def no_http2(weir):
    """A server that speaks HTTP/1.1."""

    def talk(client):
        client.recv(65536)
        client.sendall(b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')
        client.close()

    raw(weir, talk, 'an answer in HTTP/1.1')


def ended_streams(weir):
    """Streams that the server ends as soon as they come: the state stays, and one that lasts is used."""
    with programmed(weir) as (plane, bench, stream):
        good(bench, stream)
        for _ in range(10):
            stream.end()
            stream = plane.stream()
            assert fetch(bench.listen) == (200, 'a')
        good(bench, stream, version='2')


CASES = [
    types_out_of_order, wrong_nonces, duplicate_names, huge_pushes, silent_stream, stale_versions, what_never_comes,
    not_what_it_says, reset_in_mid_message, lengths_that_lie, no_http2, ended_streams,
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--weir', required=True)
    parser.add_argument('--only')
    arguments = parser.parse_args()
    failed = False
    for case in CASES:
        name = case.__name__.replace('_', '-')
        if arguments.only and arguments.only != name:
            continue
        try:
            case(arguments.weir)
            print(f'ok   {name}', flush=True)
        except Exception as error:  # every case is told, whatever became of it
            failed = True
            print(f'FAIL {name}: {type(error).__name__}: {error}'.replace('\n', ' '), flush=True)
    # Threads of the servers may still wait.
    os._exit(1 if failed else 0)


if __name__ == '__main__':
    sys.exit(main())
